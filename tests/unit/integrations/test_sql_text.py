"""What is told of a statement: its text without values, and a name of few different values."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.integrations._sql_text import read_statement


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("select 1", "select ?"),
        ("select -1.5e3, .5, 0xFF from t1", "select -?, ?, ? from t1"),
        (
            "select n from t where id = $1 and k = :key2",
            "select n from t where id = $1 and k = :key2",
        ),
        ("select 'it''s', E'it\\'s', x'1F', N'a'", "select ?, ?, ?, ?"),
        ("select $$a 'b'$$, $q$ $$ $q$", "select ?, ?"),
        ("select 1 -- 'mine\n + 2 /* it's */ from a", "select ? + ? from a"),
        ('select "it\'s 5" from "my 7"', 'select "it\'s 5" from "my 7"'),
        ("select '5'::int, a::numeric(10,2)", "select ?::int, a::numeric(?,?)"),
        ("  select\n\t a,\n b  ", "select a, b"),
        ("", ""),
    ],
)
def test_values_are_taken_out_of_the_text(sql: str, text: str) -> None:
    """Strings of each kind and numbers; placeholders, names and casts stay, comments and blanks go."""
    assert read_statement(sql).text == text


@pytest.mark.parametrize(
    ("sql", "summary"),
    [
        ("select a from orders where b in (select c from d)", "SELECT orders"),
        ("INSERT INTO shop.orders (a) VALUES (1)", "INSERT shop.orders"),
        ('update only "Orders" set a = 1', "UPDATE Orders"),
        ("delete from orders", "DELETE orders"),
        ("with x as (select 1 from a) select * from x", "WITH a"),
        ("create table if not exists t (a int)", "CREATE t"),
        ("BEGIN; SET LOCAL statement_timeout = 5", "BEGIN"),
        ("/* from nothing */ commit", "COMMIT"),
        ("select 'from secret'", "SELECT"),
        ("(select 1)", "SELECT"),
        ("", "SQL"),
        ("select 1 from " + "t" * 500, "SELECT " + "t" * 93),
    ],
)
def test_the_name_is_operation_and_table(sql: str, summary: str) -> None:
    """The first word and the first table; never out of a comment or a string."""
    assert read_statement(sql).summary == summary


@given(st.text().map(lambda value: value.replace("\0", "")), st.booleans())
def test_no_value_comes_through(value: str, cut: bool) -> None:
    """Whatever stands in a string, also where the text is cut within it."""
    marked = f"<secret>{value}<secret>"
    quoted = marked.replace("'", "''")
    before = "select a from b where c = " + ("c and " * 800)[:3980] if cut else "select "
    for sql in (f"{before}'{quoted}', 1", f"insert into t values ({before!r}, '{quoted}')"):
        assert "<secret>" not in read_statement(sql).text


def test_other_servers_read_strings_in_another_way() -> None:
    """Where a double quote begins a string, or a backslash hides a quote, no text is told."""
    for sql in ('select "secret" from t', "select 'it\\'s' from t"):
        assert read_statement(sql, standard=False) == ("SELECT", "SELECT", "")
    assert read_statement("select `a` from t", standard=False).text == "select `a` from t"


def test_long_statements_are_cut_and_soon_read() -> None:
    """A megabyte costs no more than the part that is looked at, nor does one that opens all and closes nothing."""
    values = "insert into t values " + ", ".join(["(1, 'x')"] * 100_000)
    assert len(read_statement(values).text) == 1_000
    began = time.process_time()
    for opening in ("'", "/*", "$a$", '"', "E'\\", "$$'\"/*", "''" * 10, "1e"):
        read_statement("select " + opening * 2_000)
    assert time.process_time() - began < 0.5
