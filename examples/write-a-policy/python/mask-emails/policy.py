"""Covers e-mail addresses in text columns by what the values look like."""

from portcullis import BatchResult, Chunk, Command, Inspect, Keep, Plan, Policy, ResultSet, Session, Spans, detect, export

TEXT = {"text", "varchar", "bpchar", "citext", "name"}


@export
class MaskEmails(Policy):
    def __init__(self, settings: dict) -> None:
        self.keep_domain = settings.get("keep_domain", True)

    def plan(self, session: Session, command: Command, result: ResultSet) -> Plan:
        columns = enumerate(result.columns())
        return Plan({index: Inspect() for index, column in columns if column.type_name in TEXT})

    def filter(
        self, session: Session, command: Command, result: ResultSet, row_count: int, chunks: list[Chunk]
    ) -> BatchResult:
        return BatchResult([self.cover(chunk) for chunk in chunks])

    def cover(self, chunk: Chunk) -> Keep | Spans:
        hits = detect.scan(["email"], chunk)
        spans = Spans()
        for hit in hits:
            covered = chunk.found(hit).rfind(b"@") if self.keep_domain else hit.len
            spans.add(hit.row, hit.start, covered)
        return spans if hits else Keep()
