"""A plane of values as a VTK structured grid (.vts, XML), for ParaView and its like."""

import base64
from typing import Any
from xml.etree import ElementTree

import numpy as np


def structured_grid(a: Any, b: Any, values: Any, name: str = "objective") -> str:
    """The file as text: points (aᵢ, bⱼ, 0), each with values[i, j], NaN and infinity as they are.

    The grid is flat, since a height that is not finite has no place; the filter "Warp By Scalar" raises it. Arrays are
    in VTK's inline form: one base64 text of the number of bytes, as UInt64, and the bytes (VTK file formats, 2023).
    Raises ValueError for values that are not shaped as the axes.
    """
    a, b, values = (np.asarray(x) for x in (a, b, values))
    if values.shape != (a.size, b.size):
        raise ValueError(f"the values have shape {values.shape}; expected {(a.size, b.size)}, as the axes say")
    # VTK counts the first axis fastest.
    places = np.stack(np.broadcast_arrays(a[:, None], b[None, :], 0.0), axis=-1).transpose(1, 0, 2)
    extent = f"0 {a.size - 1} 0 {b.size - 1} 0 0"
    root = ElementTree.Element(
        "VTKFile", type="StructuredGrid", version="1.0", byte_order="LittleEndian", header_type="UInt64"
    )
    grid = ElementTree.SubElement(root, "StructuredGrid", WholeExtent=extent)
    piece = ElementTree.SubElement(grid, "Piece", Extent=extent)
    _array(ElementTree.SubElement(piece, "PointData", Scalars=name), name, values.T)
    _array(ElementTree.SubElement(piece, "Points"), "points", places, NumberOfComponents="3")
    ElementTree.indent(root)
    return f'<?xml version="1.0"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _array(parent: ElementTree.Element, name: str, values: np.ndarray, **more: str) -> None:
    size = 4 if values.dtype == np.float32 else 8
    data = np.ascontiguousarray(values, f"<f{size}").tobytes()
    text = base64.b64encode(np.uint64(len(data)).astype("<u8").tobytes() + data).decode()
    about = {"type": f"Float{8 * size}", "Name": name, "format": "binary", **more}
    ElementTree.SubElement(parent, "DataArray", about).text = text
