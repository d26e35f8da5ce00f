"""Refusal reasons: plain words on the wire, one sentence each, and what a damaged record names."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

from streams.refusal_reasons import RefusalReason


@pytest.mark.parametrize("reason", RefusalReason)
def test_a_reason_is_a_plain_word_with_a_sentence(reason: RefusalReason) -> None:
    assert reason.value.isidentifier()
    assert reason.name == reason.value.upper()
    assert reason.sentence.endswith(".")
    assert reason.sentence[0].isupper()
    assert json.loads(json.dumps({reason: reason})) == {reason.value: reason.value}
    assert msgpack.unpackb(msgpack.packb(reason)) == reason.value
    assert RefusalReason.of_record(reason.value) is RefusalReason.of(reason.value) is reason


@pytest.mark.parametrize("value", [None, 3, "", "no_such_reason", b"corrupt"])
def test_a_damaged_record_is_refused_as_unreadable(value: Any) -> None:
    assert RefusalReason.of_record(value) is RefusalReason.JOURNAL_UNREADABLE
