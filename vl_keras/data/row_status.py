"""The status of a served row: `OK`, or a sentence that says why the row has no answer."""

OK = "ok"
