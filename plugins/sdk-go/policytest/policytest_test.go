package policytest

import (
	"testing"

	"portcullis/policy/host"
)

func TestDetectorsFindWhatTheTestSays(t *testing.T) {
	NewHost(t).Detect("email", "a@b")
	chunk := Chunk(0, Text("x a@b a@b"), nil, Text("a@b"))
	hits := host.Scan([]string{"card", "email"}, chunk.Ends, chunk.Data)
	want := []host.Hit{{Value: 0, Start: 2, Len: 3, Detector: 1, Score: 50}, {Value: 0, Start: 6, Len: 3, Detector: 1, Score: 50},
		{Value: 2, Start: 0, Len: 3, Detector: 1, Score: 50}}
	if len(hits) != len(want) {
		t.Fatalf("%v", hits)
	}
	for i := range want {
		if hits[i] != want[i] {
			t.Errorf("%v instead of %v", hits[i], want[i])
		}
	}
}

func TestCountersAreWindows(t *testing.T) {
	h := NewHost(t)
	for _, step := range []struct {
		second uint64
		want   int64
	}{{0, 1}, {9, 2}, {10, 1}} {
		h.SetNow(step.second * 1000)
		if sum, err := host.Increment("key", 1, 10); err != nil || sum != step.want {
			t.Errorf("at %d s: %d, %v", step.second, sum, err)
		}
	}
	h.SetStateFailing(true)
	if _, err := host.Increment("key", 1, 10); err == nil {
		t.Error("the state does not fail")
	}
}

func TestEachTestHasAHostOfItsOwn(t *testing.T) {
	t.Run("one", func(t *testing.T) {
		NewHost(t)
		host.Log(host.Info, "one")
	})
	if h := NewHost(t); len(h.Lines()) != 0 {
		t.Errorf("%v", h.Lines())
	}
}
