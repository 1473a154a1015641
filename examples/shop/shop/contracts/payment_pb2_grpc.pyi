"""Types of the generated gRPC module. DO NOT EDIT: scripts/regenerate-protos."""

import grpc
import grpc.aio

from shop.contracts import payment_pb2

class PaymentStub:
    def __init__(self, channel: grpc.aio.Channel) -> None: ...
    Charge: grpc.aio.UnaryUnaryMultiCallable[payment_pb2.ChargeRequest, payment_pb2.PaymentReply]
    Query: grpc.aio.UnaryUnaryMultiCallable[payment_pb2.OrderId, payment_pb2.PaymentReply]
    Refund: grpc.aio.UnaryUnaryMultiCallable[payment_pb2.OrderId, payment_pb2.PaymentReply]

class PaymentServicer:
    async def Charge(
        self, request: payment_pb2.ChargeRequest, context: grpc.aio.ServicerContext[payment_pb2.ChargeRequest, payment_pb2.PaymentReply]
    ) -> payment_pb2.PaymentReply: ...
    async def Query(
        self, request: payment_pb2.OrderId, context: grpc.aio.ServicerContext[payment_pb2.OrderId, payment_pb2.PaymentReply]
    ) -> payment_pb2.PaymentReply: ...
    async def Refund(
        self, request: payment_pb2.OrderId, context: grpc.aio.ServicerContext[payment_pb2.OrderId, payment_pb2.PaymentReply]
    ) -> payment_pb2.PaymentReply: ...

def add_PaymentServicer_to_server(
    servicer: PaymentServicer, server: grpc.aio.Server
) -> None: ...
