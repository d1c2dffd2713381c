package commands

import (
	"testing"
	"unsafe"
)

func TestLayoutsAreThoseOfTheInterface(t *testing.T) {
	var r verdictResult
	v := &r.verdict
	for name, offsets := range map[string][2]uintptr{
		"verdict":  {unsafe.Offsetof(r.verdict), 4},
		"message":  {unsafe.Offsetof(v.message), 4},
		"rewrite":  {unsafe.Offsetof(v.rewrite), 16},
		"reviewed": {unsafe.Offsetof(v.reviewed), 28},
		"approval": {unsafe.Offsetof(v.approval), 32},
		"reason":   {unsafe.Offsetof(v.approval.reason), 20},
		"findings": {unsafe.Offsetof(v.findings), 60},
		"size":     {unsafe.Sizeof(r), 72},
	} {
		if offsets[0] != offsets[1] {
			t.Errorf("%s is at %d instead of %d", name, offsets[0], offsets[1])
		}
	}
}
