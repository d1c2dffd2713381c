package main

import (
	"slices"
	"testing"

	"portcullis/policy"
	"portcullis/policy/policytest"
	"portcullis/policy/rows"
)

func load(t *testing.T, settings string) *maskEmails {
	t.Helper()
	p, err := policy.Load(newMaskEmails, settings)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestColumnsThatMayHoldTextAreSearched(t *testing.T) {
	result := policytest.ResultSet{{TypeName: "int4"}, {TypeName: "text"}, {TypeName: "_uuid"}, {TypeName: "_varchar"}, {TypeName: "title"}}
	plan, err := load(t, `{}`).Plan(policytest.Session{}, policytest.Command{}, result)
	if err != nil {
		t.Fatal(err)
	}
	var inspected []uint32
	for _, rule := range plan.Rules {
		inspected = append(inspected, rule.Column)
	}
	if !slices.Equal(inspected, []uint32{1, 3, 4}) {
		t.Errorf("inspected: %v", inspected)
	}
}

func TestAddressesAreCovered(t *testing.T) {
	policytest.NewHost(t).Detect("email", "anna@example.com")
	chunk := policytest.Chunk(0, policytest.Text("nothing"), nil, policytest.Text("to anna@example.com"))
	for settings, length := range map[string]uint32{`{}`: 4, `{"keep_domain": true}`: 4, `{"keep_domain": false}`: 16} {
		batch, err := load(t, settings).Filter(policytest.Session{}, policytest.Command{}, policytest.ResultSet{}, 3, []rows.Chunk{chunk})
		if err != nil {
			t.Fatal(err)
		}
		spans := batch.Edits[0].Spans
		if !slices.Equal(spans.Rows, []uint32{2}) || !slices.Equal(spans.Starts, []uint32{3}) || !slices.Equal(spans.Lens, []uint32{length}) {
			t.Errorf("%s: %v", settings, spans)
		}
	}
}

func TestAChunkWithoutAnAddressStaysAsItIs(t *testing.T) {
	policytest.NewHost(t)
	chunk := policytest.Chunk(0, policytest.Text("nothing"))
	batch, err := load(t, `{}`).Filter(policytest.Session{}, policytest.Command{}, policytest.ResultSet{}, 1, []rows.Chunk{chunk})
	if err != nil || batch.Edits[0].Spans != nil {
		t.Errorf("%v, %v", batch, err)
	}
}
