"""The data contract: which files hold a scan or a product, and what must be in them.

Each ``*.json`` here is the contract of one kind of file, a table of entries: number kind, shapes (letters must mean the
same length everywhere in a file), unit, rules. :func:`violations` checks a file against it.
"""

from ptychopinn.contract.check import violations
from ptychopinn.contract.table import Contract, Entry, contract_of, contracts

__all__ = ["Contract", "Entry", "contract_of", "contracts", "violations"]
