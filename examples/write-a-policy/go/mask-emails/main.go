// Covers e-mail addresses in text columns, wherever they come from.
package main

import (
	"bytes"
	"slices"
	"strings"

	"portcullis/policy"
	"portcullis/policy/host"
	"portcullis/policy/rows"
)

// notText has the types whose values hold no text. Every other type is searched: a domain over text has a name of its own.
var notText = []string{
	"bool", "bytea", "date", "float4", "float8", "int2", "int4", "int8", "interval", "money", "numeric", "oid", "time", "timestamp",
	"timestamptz", "timetz", "uuid",
}

type settings struct {
	// KeepDomain covers only the part before the @, and does so unless it is set to false.
	KeepDomain *bool `json:"keep_domain"`
}

type maskEmails struct{ keepDomain bool }

func newMaskEmails(s settings) (*maskEmails, error) {
	return &maskEmails{s.KeepDomain == nil || *s.KeepDomain}, nil
}

// Plan asks for the values of all columns that may hold text. A column's name tells nothing: whoever writes the query chooses it.
func (*maskEmails) Plan(_ policy.Session, _ policy.Command, r policy.ResultSet) (rows.Plan, error) {
	var plan rows.Plan
	for i, column := range r.Columns() {
		// The name of an array's type is that of its element's with "_" before it.
		if !slices.Contains(notText, strings.TrimPrefix(column.TypeName, "_")) {
			plan.Rules = append(plan.Rules, rows.Rule{Column: uint32(i), Action: rows.Inspect()})
		}
	}
	return plan, nil
}

// Filter covers what the gateway's detector finds.
func (p *maskEmails) Filter(
	_ policy.Session, _ policy.Command, _ policy.ResultSet, _ uint32, chunks []rows.Chunk,
) (rows.Batch, error) {
	edits := make([]rows.Edit, len(chunks))
	for i, chunk := range chunks {
		if hits := host.Scan([]string{"email"}, chunk.Ends, chunk.Data); len(hits) > 0 {
			edits[i].Spans = p.cover(&chunk, hits)
		}
	}
	return rows.Batch{Edits: edits}, nil
}

func (p *maskEmails) cover(chunk *rows.Chunk, hits []host.Hit) *rows.Spans {
	spans := rows.Spans{Fill: '*'}
	for _, hit := range hits {
		length := hit.Len
		address := chunk.Value(int(hit.Value))[hit.Start : hit.Start+hit.Len]
		if at := bytes.LastIndexByte(address, '@'); p.keepDomain && at >= 0 {
			length = uint32(at)
		}
		spans.Add(hit.Value, hit.Start, length)
	}
	return &spans
}

func init() { policy.Export(newMaskEmails, rows.Hook) }

func main() {}
