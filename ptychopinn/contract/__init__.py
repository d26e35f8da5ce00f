"""The data contract: the kinds of files with a scan or a product, and their required content.

Each ``*.json`` here is the contract of one kind of file, a table of entries: number type, shapes (a letter means the same
length everywhere in a file), unit, rules. :func:`violations` checks a file against it.
"""

from ptychopinn.contract.check import violations
from ptychopinn.contract.table import Contract, Entry, contract_of, contracts

__all__ = ["Contract", "Entry", "contract_of", "contracts", "violations"]
