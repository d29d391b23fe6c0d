"""What a visitor knows of their own credits, so that nobody spends the last ones unaware."""

from __future__ import annotations

from musicgen_space.errors import InsufficientCredits
from musicgen_space.take import Receipt

__all__ = ["Purse"]


class Purse:
    """The last balance and the last price, in credits; None while unknown."""

    def __init__(self) -> None:
        self.credits: float | None = None
        self._price: float | None = None
        self._warned = False

    def look_into(self, balance: float | None) -> None:
        """Note the balance of the key that is used now; it may be another than before."""
        self.credits = balance

    def pay(self, receipt: Receipt | None) -> None:
        """Take in what a take's receipt says."""
        if receipt is None:
            return
        if receipt.cost is not None:
            self._price = receipt.cost
        if receipt.credits_left is not None:
            self.credits = receipt.credits_left
        self._warned = False

    def check(self, typical_price: float) -> None:
        """Raise ``InsufficientCredits`` once when the balance is below the price of a take.

        Only a warning: prices change, so the next try goes through.
        """
        price = typical_price if self._price is None else self._price
        if self.credits is None or self.credits >= price or self._warned:
            self._warned = False
            return
        self._warned = True
        raise InsufficientCredits(
            f"Your balance of {self.credits:.3f} credits is below the price of a take, about "
            f"{price:.3f}. Press Generate again to try all the same."
        )
