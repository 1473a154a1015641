from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChargeRequest(_message.Message):
    __slots__ = ("order_id", "amount")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    amount: int
    def __init__(self, order_id: _Optional[str] = ..., amount: _Optional[int] = ...) -> None: ...

class OrderId(_message.Message):
    __slots__ = ("order_id",)
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    def __init__(self, order_id: _Optional[str] = ...) -> None: ...

class PaymentReply(_message.Message):
    __slots__ = ("outcome",)
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[PaymentReply.Outcome]
        SETTLED: _ClassVar[PaymentReply.Outcome]
        DECLINED: _ClassVar[PaymentReply.Outcome]
        PENDING: _ClassVar[PaymentReply.Outcome]
        NOT_FOUND: _ClassVar[PaymentReply.Outcome]
        REFUNDED: _ClassVar[PaymentReply.Outcome]
        REFUSED: _ClassVar[PaymentReply.Outcome]
    OUTCOME_UNSPECIFIED: PaymentReply.Outcome
    SETTLED: PaymentReply.Outcome
    DECLINED: PaymentReply.Outcome
    PENDING: PaymentReply.Outcome
    NOT_FOUND: PaymentReply.Outcome
    REFUNDED: PaymentReply.Outcome
    REFUSED: PaymentReply.Outcome
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    outcome: PaymentReply.Outcome
    def __init__(self, outcome: _Optional[_Union[PaymentReply.Outcome, str]] = ...) -> None: ...
