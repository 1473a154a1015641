"""Types of the generated gRPC module. DO NOT EDIT: scripts/regenerate-protos."""

import grpc
import grpc.aio

from shop.contracts import bus_pb2

class BusStub:
    def __init__(self, channel: grpc.aio.Channel) -> None: ...
    Publish: grpc.aio.UnaryUnaryMultiCallable[bus_pb2.PublishRequest, bus_pb2.PublishReply]
    Pull: grpc.aio.UnaryUnaryMultiCallable[bus_pb2.PullRequest, bus_pb2.PullReply]
    Ack: grpc.aio.UnaryUnaryMultiCallable[bus_pb2.AckRequest, bus_pb2.AckReply]
    Nak: grpc.aio.UnaryUnaryMultiCallable[bus_pb2.NakRequest, bus_pb2.NakReply]
    Extend: grpc.aio.UnaryUnaryMultiCallable[bus_pb2.ExtendRequest, bus_pb2.ExtendReply]
    ListDeadLetters: grpc.aio.UnaryUnaryMultiCallable[bus_pb2.ListDeadLettersRequest, bus_pb2.ListDeadLettersReply]
    GetStatistics: grpc.aio.UnaryUnaryMultiCallable[bus_pb2.GetStatisticsRequest, bus_pb2.GetStatisticsReply]

class BusServicer:
    async def Publish(
        self, request: bus_pb2.PublishRequest, context: grpc.aio.ServicerContext[bus_pb2.PublishRequest, bus_pb2.PublishReply]
    ) -> bus_pb2.PublishReply: ...
    async def Pull(
        self, request: bus_pb2.PullRequest, context: grpc.aio.ServicerContext[bus_pb2.PullRequest, bus_pb2.PullReply]
    ) -> bus_pb2.PullReply: ...
    async def Ack(
        self, request: bus_pb2.AckRequest, context: grpc.aio.ServicerContext[bus_pb2.AckRequest, bus_pb2.AckReply]
    ) -> bus_pb2.AckReply: ...
    async def Nak(
        self, request: bus_pb2.NakRequest, context: grpc.aio.ServicerContext[bus_pb2.NakRequest, bus_pb2.NakReply]
    ) -> bus_pb2.NakReply: ...
    async def Extend(
        self, request: bus_pb2.ExtendRequest, context: grpc.aio.ServicerContext[bus_pb2.ExtendRequest, bus_pb2.ExtendReply]
    ) -> bus_pb2.ExtendReply: ...
    async def ListDeadLetters(
        self, request: bus_pb2.ListDeadLettersRequest, context: grpc.aio.ServicerContext[bus_pb2.ListDeadLettersRequest, bus_pb2.ListDeadLettersReply]
    ) -> bus_pb2.ListDeadLettersReply: ...
    async def GetStatistics(
        self, request: bus_pb2.GetStatisticsRequest, context: grpc.aio.ServicerContext[bus_pb2.GetStatisticsRequest, bus_pb2.GetStatisticsReply]
    ) -> bus_pb2.GetStatisticsReply: ...

def add_BusServicer_to_server(
    servicer: BusServicer, server: grpc.aio.Server
) -> None: ...
