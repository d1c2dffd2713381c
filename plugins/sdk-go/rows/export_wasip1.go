package rows

import (
	"unsafe"

	"portcullis/policy"
	"portcullis/policy/internal/abi"
	"portcullis/policy/internal/crash"
	"portcullis/policy/internal/guest"
)

//go:wasmexport portcullis:policy/rows@0.1.1#plan-result
func planRows(session, command, result uint32) unsafe.Pointer {
	abi.Begin()
	defer abi.End()
	defer crash.Report()
	s, c, r := guest.Session(session), guest.Command(command), guest.ResultSet(result)
	if asked == nil {
		return guest.FailWide(guest.NotConfigured)
	}
	p, err := asked.Plan(s, c, r)
	if err != nil {
		return guest.FailWide(err)
	}
	lowered := plan{rules: abi.LowerMap(p.Rules, lowerRule), maxRows: p.MaxRows}
	if p.MaxRows > 0 {
		lowered.limited = 1
	}
	return abi.Answer(planResult{plan: lowered})
}

func lowerRule(r Rule) rule {
	lowered := rule{column: r.Column, action: action{kind: r.Action.kind}}
	switch r.Action.kind {
	case Hide(Mask{}).kind:
		lowered.action.name = abi.LowerString(r.Action.mask.Name)
		lowered.action.parameters = abi.LowerMap(r.Action.mask.Parameters, func(p [2]string) parameter {
			return parameter{abi.LowerString(p[0]), abi.LowerString(p[1])}
		})
	case Refuse("").kind:
		lowered.action.name = abi.LowerString(r.Action.message)
	}
	return lowered
}

//go:wasmexport portcullis:policy/rows@0.1.1#filter-batch
func filterBatch(session, command, result, rows, at, length uint32) unsafe.Pointer {
	abi.Begin()
	defer abi.End()
	defer crash.Report()
	s, c, r := guest.Session(session), guest.Command(command), guest.ResultSet(result)
	filter, ok := asked.(Filter)
	if !ok {
		return guest.Fail(policy.Error{Code: "no-filter", Message: "the policy inspects columns, but does not filter them"})
	}
	chunks := abi.Map(abi.List{Ptr: at, Len: length}, func(c chunk) Chunk {
		return Chunk{c.column, abi.Slice[byte](c.nulls), abi.Slice[uint32](c.ends), abi.Slice[byte](c.data)}
	})
	b, err := filter.Filter(s, c, r, rows, chunks)
	if err != nil {
		return guest.Fail(err)
	}
	return abi.Answer(batchResult{batch: batch{
		edits:    abi.LowerMap(b.Edits, lowerEdit),
		dropRows: abi.LowerSlice(b.Drop),
		abort:    abi.LowerOption(b.Abort),
	}})
}

func lowerEdit(e Edit) edit {
	switch {
	case e.Patch != nil:
		p := e.Patch
		lists := [4]abi.List{abi.LowerSlice(p.Rows), abi.LowerSlice(p.Nulls), abi.LowerSlice(p.Ends), abi.LowerSlice(p.Data)}
		return edit{kind: 2, lists: lists}
	case e.Spans != nil:
		s := e.Spans
		// The fill lies behind the three lists, in the first byte of the fourth.
		fill := abi.List{Ptr: uint32(s.Fill)}
		return edit{kind: 1, lists: [4]abi.List{abi.LowerSlice(s.Rows), abi.LowerSlice(s.Starts), abi.LowerSlice(s.Lens), fill}}
	}
	return edit{}
}
