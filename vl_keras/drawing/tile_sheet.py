"""Old names of `contact_sheet`, until the tasks import the new ones."""

from vl_keras.drawing.contact_sheet import RIGHT, WRONG, Tile  # noqa: F401
from vl_keras.drawing.contact_sheet import draw_contact_sheet as draw_tile_sheet  # noqa: F401
from vl_keras.drawing.example_sheet import source_image  # noqa: F401
