"""Write the folder of a comparison: its report, figures and tables."""

from pathlib import Path

from gain_lightning.studies.comparison import tables
from gain_lightning.studies.comparison.groups import Comparison
from gain_lightning.studies.report import figures, report


def write_comparison(comparison: Comparison, out: Path) -> None:
    """Write ``summary.json``, ``table.csv``, ``table.tex``, ``report.html`` and ``figures/``.

    Args:
        comparison: The comparison to write.
        out: The folder; it is made if it does not exist.
    """
    out.mkdir(parents=True, exist_ok=True)
    tables.write_summary(comparison, out / "summary.json")
    tables.write_table(comparison, out / "table.csv")
    tables.write_latex(comparison, out / "table.tex")
    report.write_report(comparison, out / "report.html")
    figures.write_figures(comparison, out / "figures")
