"""XML of foreign tools is read without what makes XML dangerous."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses a document type, where entities are declared, and with them bombs and foreign files."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("declares a document type or entities, which no annotation does")


def read_xml(path: Path, tag: str) -> ElementTree.Element:
    """Read a file of XML.

    Args:
        path: The file.
        tag: The tag that its outermost element must have.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is no XML, declares entities, or is of another kind; the error names the file.
    """
    parser = ElementTree.XMLParser(target=_NoDoctype())
    try:
        parser.feed(path.read_bytes())
        root = parser.close()
    except (ElementTree.ParseError, LookupError) as error:
        # a LookupError is an encoding that nobody knows
        raise ValueError(f"{path}: not an XML annotation ({error})") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if root.tag != tag:
        raise ValueError(f"{path}: holds <{root.tag}>, expected <{tag}>")
    return root
