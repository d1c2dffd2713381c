// Package rows is for policies that decide on results.
package rows

import (
	"strconv"

	"portcullis/policy"
)

// A Policy decides on results. One that inspects columns must be a Filter too.
type Policy interface {
	// Plan says what happens to the columns of a result, before its first row.
	Plan(s policy.Session, c policy.Command, r policy.ResultSet) (Plan, error)
}

// A Filter decides on the values of the columns that it inspects.
type Filter interface {
	// Filter says what changes in a batch of rows. The chunks are the inspected columns.
	Filter(s policy.Session, c policy.Command, r policy.ResultSet, rows uint32, chunks []Chunk) (Batch, error)
}

var asked Policy

// Hook exports the hooks of a policy; hand it to policy.Export.
func Hook[P Policy](p P) []string {
	asked = p
	return nil
}

// A Plan says what happens to a result. Columns without a rule are kept.
type Plan struct {
	Rules []Rule
	// MaxRows refuses the rest of a result with more rows, unless it is 0.
	MaxRows uint64
}

// A Rule says what happens to a column.
type Rule struct {
	// Column is its index in the result.
	Column uint32
	Action Action
}

// An Action is what happens to a column. Make one with Keep, Hide, Inspect or Refuse.
type Action struct {
	kind    uint8
	mask    Mask
	message string
}

// Keep leaves a column alone.
func Keep() Action { return Action{} }

// Hide lets the host mask a column, the fastest way to hide its values.
func Hide(mask Mask) Action { return Action{kind: 1, mask: mask} }

// Inspect hands the values of a column to Filter, in the text form of their type.
func Inspect() Action { return Action{kind: 2} }

// Refuse refuses the whole result with this message.
func Refuse(message string) Action { return Action{kind: 3, message: message} }

// A Mask is one that the host applies itself: "constant", "date-to-year", "email", "hash", "keep-last", "null" or "redact".
type Mask struct {
	Name string
	// Parameters are pairs of a name and a value.
	Parameters [][2]string
}

// Constant is the same value for every row.
func Constant(value string) Mask { return Mask{"constant", [][2]string{{"value", value}}} }

// KeepLast makes all characters but the last ones "*".
func KeepLast(count uint32) Mask {
	return Mask{"keep-last", [][2]string{{"count", strconv.FormatUint(uint64(count), 10)}}}
}

// A Chunk is an inspected column of a batch.
type Chunk struct {
	// Column is its index in the result.
	Column uint32
	// Nulls has a bit for each row, the least significant first: set where the value is NULL.
	Nulls []byte
	// Ends has for each row where its value ends in Data; it begins where the one before ends.
	Ends []uint32
	Data []byte
}

// Value is the one in a row; nil is NULL.
func (c *Chunk) Value(row int) []byte {
	if c.Nulls[row/8]>>(row%8)&1 == 1 {
		return nil
	}
	start := uint32(0)
	if row > 0 {
		start = c.Ends[row-1]
	}
	return c.Data[start:c.Ends[row]:c.Ends[row]]
}

// A Batch says what to change in a batch.
type Batch struct {
	// Edits has one for each chunk, in order.
	Edits []Edit
	// Drop has the rows that the client is not to see, by their index in the batch.
	Drop []uint32
	// Abort refuses the rest of the result with this message, unless it is empty.
	Abort string
}

// An Edit says what to change in a chunk: parts of values, or values; nothing if it is empty. NULL stays NULL.
type Edit struct {
	Spans *Spans
	Patch *Patch
}

// Spans overwrite parts of values.
type Spans struct {
	// Rows, Starts and Lens have for each span its row, where it starts in the value, and how many bytes it has.
	Rows, Starts, Lens []uint32
	// Fill is a printable ASCII character.
	Fill byte
}

// Add adds the bytes from start to start+length of the value in a row. Both lie between characters.
func (s *Spans) Add(row, start, length uint32) {
	s.Rows, s.Starts, s.Lens = append(s.Rows, row), append(s.Starts, start), append(s.Lens, length)
}

// A Patch gives rows new values, in the text form of the column's type.
type Patch struct {
	// Rows are strictly increasing; the rest is as in a Chunk, with an element for each of them.
	Rows  []uint32
	Nulls []byte
	Ends  []uint32
	Data  []byte
}

// Add gives a row a new value; nil is NULL. Rows come in order.
func (p *Patch) Add(row uint32, value []byte) {
	index := len(p.Rows)
	if index%8 == 0 {
		p.Nulls = append(p.Nulls, 0)
	}
	if value == nil {
		p.Nulls[index/8] |= 1 << (index % 8)
	}
	p.Data = append(p.Data, value...)
	p.Rows, p.Ends = append(p.Rows, row), append(p.Ends, uint32(len(p.Data)))
}
