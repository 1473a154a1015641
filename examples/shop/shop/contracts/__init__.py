"""The contracts between the shop's processes: .proto files and the modules made from them.

Everything but the `.proto` files is generated and committed; `scripts/regenerate-protos` rewrites it.
Use as `from shop.contracts import bus_pb2, bus_pb2_grpc`.
"""
