"""What a run gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmtl.report.accounts import Accounts, NoAccounts
from qmtl.report.metrics import Metrics

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Result:
    """Outputs, accounts and provenance of one strategy.

    Attributes
    ----------
    strategy : str
        Name of the strategy.
    outputs : mapping of str to DataFrame
        Records of each node: index ``ts`` (bucket start, int64 seconds UTC), one column a field; buckets without
        output are absent.
    node_ids : mapping of str to str
        Content address of each node, 64 hex characters.
    warmup : mapping of str to int
        Bars of the base streams before the first output.
    gaps : list of dict
        Missing bars: ``stream``, ``start``, ``end`` (half-open, seconds UTC), ``bars``.
    provenance : dict
        Versions, span, policies and the fingerprints of the data.
    graph : dict
        The DAG document ``qmtl.dag/1``.
    accounts : Accounts
        Where ``equity``, ``orders``, ``fills``, ``trades`` and ``metrics`` come from.
    journal : DataFrame or None
        Of a run that traded bar by bar: every order with its ``client_order_id``, ``bucket`` of the target, ``ts`` of
        the deciding bar, ``symbol``, ``side``, ``quantity``, ``status`` (filled, open, replaced).
    """

    strategy: str
    outputs: Mapping[str, pd.DataFrame]
    node_ids: Mapping[str, str]
    warmup: Mapping[str, int]
    gaps: list[dict[str, Any]]
    provenance: dict[str, Any]
    graph: dict[str, Any]
    accounts: Accounts = field(default_factory=lambda: NoAccounts(Metrics({}, {}, {})), repr=False)
    journal: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def equity(self) -> pd.DataFrame:
        """Index ``ts``; ``equity``, ``cash`` in the quote currency, ``drawdown`` as a share, at bar closes."""
        return self.accounts.table("equity")

    @property
    def positions(self) -> pd.DataFrame:
        """Index ``ts``; units held, a column for each symbol."""
        return self.accounts.table("positions")

    @property
    def orders(self) -> pd.DataFrame:
        """``id``, ``ts`` of the deciding bar, ``symbol``, ``side``, ``quantity``, ``status``."""
        return self.accounts.table("orders")

    @property
    def fills(self) -> pd.DataFrame:
        """``ts``, ``decided``, ``order``, ``symbol``, ``side``, ``quantity``, ``price``, ``fee``, ``slippage``."""
        return self.accounts.table("fills")

    @property
    def trades(self) -> pd.DataFrame:
        """Closed round trips, ``pnl`` net of ``costs``."""
        return self.accounts.table("trades")

    @property
    def prices(self) -> pd.DataFrame:
        """Bars of the traded stream; index ``ts``."""
        return self.accounts.table("prices")

    @property
    def metrics(self) -> Metrics:
        """Measures by name, with their ``basis`` and ``notes``; empty if nothing was traded."""
        return self.accounts.metrics

    @property
    def has_traded(self) -> bool:
        """Whether there are accounts."""
        return bool(self.metrics)

    def report(self, path: str | Path = "report.html") -> Path:
        """Write one self-contained HTML page and return its path.

        Raises
        ------
        WriteError
            The page cannot be written; nothing half-written is left.
        """
        from qmtl.report.storage import write_text
        from qmtl.report.tearsheet import render

        return write_text(Path(path), render(self))

    def save(self, directory: str | Path) -> Path:
        """Write tables as Parquet and CSV, the rest as JSON, and the report, all or nothing.

        Raises
        ------
        WriteError
            The directory holds something else, or cannot be written; nothing half-written is left.
        """
        from qmtl.report.storage import save

        return save(self, Path(directory))

    @classmethod
    def load(cls, directory: str | Path) -> Result:
        """Read what :meth:`save` wrote.

        Raises
        ------
        SourceNotFoundError
            There is no result.
        DataFormatError
            It is of another version, or damaged.
        """
        from qmtl.report.storage import load

        return cls(**load(Path(directory)))

    def summary(self) -> str:
        """Return the measures as a text for terminals."""
        from qmtl.report.summary import summary

        return summary(self)
