from __future__ import annotations

from chain429.cli.tables import Column, Table

TABLE = Table(
    (
        Column("NAME"),
        Column("STATE", styles={"open": "red"}),
        Column("USED", right=True),
        Column("NOTE", spare=True),
    ),
    (("groq", "available", "1,200", ""), ("a/long-name", "open, back in 9 s", "7", "seen")),
    "chain default",
)


def test_plain_text_is_aligned() -> None:
    assert TABLE.plain().splitlines() == [
        "chain default",
        "NAME         STATE               USED  NOTE",
        "groq         available          1,200",
        "a/long-name  open, back in 9 s      7  seen",
    ]


def test_a_terminal_that_is_wide_enough_gets_the_same() -> None:
    assert TABLE.fitted(60, colours=False) == TABLE.plain()


def test_a_narrow_terminal_goes_without_the_spare_column_and_folds_the_others() -> None:
    assert TABLE.fitted(30, colours=False).splitlines() == [
        "chain default",
        "NAME         STATE        USED",
        "groq         available   1,200",
        "a/long-name  open, back      7",
        "             in 9 s",
    ]


def test_colours_are_those_of_a_cells_first_word() -> None:
    lines = TABLE.fitted(60, colours=True).splitlines()
    assert "\x1b[31mopen, back in 9 s\x1b[0m" in lines[3]
    assert "\x1b" not in lines[2]


def test_what_a_client_sent_does_not_steer_the_terminal() -> None:
    table = Table((Column("A"), Column("B")), [("\x1b[2J\n", "[red]x[/red]")])
    assert table.plain().splitlines()[1] == "�[2J�  [red]x[/red]"
    assert table.fitted(80, colours=False).splitlines()[1] == "�[2J�  [red]x[/red]"


def test_no_rows_are_a_heading() -> None:
    assert Table((Column("A"), Column("LONG")), ()).plain() == "A  LONG"
