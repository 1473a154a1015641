"""Types of the generated gRPC module. DO NOT EDIT: scripts/regenerate-protos."""

import grpc
import grpc.aio

from shop.contracts import inventory_pb2

class InventoryStub:
    def __init__(self, channel: grpc.aio.Channel) -> None: ...
    Reserve: grpc.aio.UnaryUnaryMultiCallable[inventory_pb2.ReserveRequest, inventory_pb2.ReserveReply]
    Confirm: grpc.aio.UnaryUnaryMultiCallable[inventory_pb2.OrderIds, inventory_pb2.ConfirmReply]
    Release: grpc.aio.UnaryUnaryMultiCallable[inventory_pb2.OrderIds, inventory_pb2.ReleaseReply]

class InventoryServicer:
    async def Reserve(
        self, request: inventory_pb2.ReserveRequest, context: grpc.aio.ServicerContext[inventory_pb2.ReserveRequest, inventory_pb2.ReserveReply]
    ) -> inventory_pb2.ReserveReply: ...
    async def Confirm(
        self, request: inventory_pb2.OrderIds, context: grpc.aio.ServicerContext[inventory_pb2.OrderIds, inventory_pb2.ConfirmReply]
    ) -> inventory_pb2.ConfirmReply: ...
    async def Release(
        self, request: inventory_pb2.OrderIds, context: grpc.aio.ServicerContext[inventory_pb2.OrderIds, inventory_pb2.ReleaseReply]
    ) -> inventory_pb2.ReleaseReply: ...

def add_InventoryServicer_to_server(
    servicer: InventoryServicer, server: grpc.aio.Server
) -> None: ...
