package rows

import (
	"bytes"
	"slices"
	"testing"
	"unsafe"
)

func TestLayoutsAreThoseOfTheInterface(t *testing.T) {
	var p planResult
	for name, offsets := range map[string][2]uintptr{
		"plan":       {unsafe.Offsetof(p.plan), 8},
		"limited":    {unsafe.Offsetof(p.plan.limited), 8},
		"max-rows":   {unsafe.Offsetof(p.plan.maxRows), 16},
		"rule":       {unsafe.Sizeof(rule{}), 24},
		"parameters": {unsafe.Offsetof(rule{}.action.parameters), 12},
		"chunk":      {unsafe.Sizeof(chunk{}), 28},
		"batch":      {unsafe.Offsetof(batchResult{}.batch), 4},
		"abort":      {unsafe.Offsetof(batch{}.abort), 16},
		"lists":      {unsafe.Offsetof(edit{}.lists), 4},
		"edit":       {unsafe.Sizeof(edit{}), 36},
	} {
		if offsets[0] != offsets[1] {
			t.Errorf("%s is at %d instead of %d", name, offsets[0], offsets[1])
		}
	}
}

func TestPatchesAreLaidOutAsTheInterfaceSays(t *testing.T) {
	var patch Patch
	for row := range uint32(10) {
		value := []byte("ab")
		if row == 1 || row == 9 {
			value = nil
		}
		patch.Add(row, value)
	}
	if !bytes.Equal(patch.Nulls, []byte{0b10, 0b10}) {
		t.Errorf("nulls: %b", patch.Nulls)
	}
	if !slices.Equal(patch.Ends, []uint32{2, 2, 4, 6, 8, 10, 12, 14, 16, 16}) || len(patch.Data) != 16 {
		t.Errorf("ends: %v, %d bytes", patch.Ends, len(patch.Data))
	}
}

func TestAValueIsFoundInItsRow(t *testing.T) {
	chunk := Chunk{Nulls: []byte{0b010}, Ends: []uint32{2, 2, 5}, Data: []byte("abcde")}
	if string(chunk.Value(0)) != "ab" || chunk.Value(1) != nil || string(chunk.Value(2)) != "cde" {
		t.Errorf("%q %q %q", chunk.Value(0), chunk.Value(1), chunk.Value(2))
	}
}
