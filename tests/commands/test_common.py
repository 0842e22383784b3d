"""The parser that all verbs share."""

import pytest

from gain_lightning.commands.common import VerbParser, add_threads, at_least, factor, share


@pytest.fixture
def parser() -> VerbParser:
    """A verb with an option of every type."""
    options = VerbParser("verb", "Try.\n  as it stands\n")
    options.add_argument("run", metavar="RUN")
    options.add_argument("--out", required=True)
    options.add_argument("--whole", type=int)
    options.add_argument("--engine", choices=("a", "b"))
    for name, kind in (("count", at_least(1)), ("share", share), ("factor", factor)):
        options.add_argument(f"--{name}", type=kind)
    add_threads(options)
    return options


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("R", "missing: --out"),
        ("--out o", "missing: RUN"),
        ("R --out", "--out: expected one argument"),
        ("R --out o S", "got S too, expected no more than --help shows"),
        ("R --out o -x", "got -x too, expected no more than --help shows"),
        ("R --ou o", "unknown option '--ou'; did you mean '--out'?"),
        ("R --nothing=3", "unknown option '--nothing'; --help lists the options"),
        ("R --out o --whole x", "--whole is 'x', expected int"),
        ("R --out o --engine c", "--engine is 'c', expected one of 'a', 'b'"),
        ("R --out o --count 0", "--count is 0, expected at least 1"),
        ("R --out o --count x", "--count is 'x', expected a whole number"),
        ("R --out o --share 1.5", "--share is 1.5, expected a share between 0 and 1"),
        ("R --out o --share nan", "--share is nan, expected a share between 0 and 1"),
        ("R --out o --factor inf", "--factor is inf, expected a positive factor"),
        ("R --out o --factor x", "--factor is 'x', expected a number"),
        ("R --out o --threads 0", "--threads is 0, expected at least 1"),
    ],
)
def test_an_error_says_what_was_given_and_what_was_expected(parser, capsys, words, message):
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(words.split())
    assert capsys.readouterr().err == f"gain verb: error: {message}\n"


def test_values_are_read_and_the_description_stands_as_it_is_written(parser):
    args = parser.parse_args(
        ["R", "--out=--o", "--count", "3", "--share", "1", "--factor", "0.5", "--threads", "2"]
    )
    assert (args.run, args.out, args.count, args.share, args.factor, args.threads) == (
        "R",
        "--o",
        3,
        1,
        0.5,
        2,
    )
    assert "\nTry.\n  as it stands\n" in parser.format_help()


def test_a_word_after_two_hyphens_is_no_option(parser):
    assert parser.parse_args(["--out=o", "--", "--odd"]).run == "--odd"
