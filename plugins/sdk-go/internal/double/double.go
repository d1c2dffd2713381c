// Package double is a host for tests.
package double

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
)

// A Host remembers what a test told it and what a policy did.
type Host struct {
	NowMS        uint64
	StateFailing bool
	// Needles are what detectors find, by their names.
	Needles map[string]string
	Lines   []string
	State   map[string]Entry
}

// An Entry is a value that is kept.
type Entry struct {
	Value   []byte
	Expires uint64
}

// Current is the host of the running test.
var Current = &Host{}

// A Hit is like one of package host.
type Hit struct {
	Value, Start, Len, Detector uint32
	Score                       uint8
}

// Names are the detectors.
func Names() []string { return []string{"email", "card", "ssn", "iban", "phone", "secret"} }

// Get is a value that has not expired.
func (h *Host) Get(key string) ([]byte, bool) {
	entry, ok := h.State[key]
	return entry.Value, ok && entry.Expires > h.NowMS
}

// Put keeps a value.
func (h *Host) Put(key string, value []byte, expires uint64) error {
	if h.StateFailing {
		return errors.New("the state is full")
	}
	if h.State == nil {
		h.State = map[string]Entry{}
	}
	h.State[key] = Entry{bytes.Clone(value), expires}
	return nil
}

// Increment adds to a counter.
func (h *Host) Increment(key string, by int64, expires uint64) (int64, error) {
	value, ok := h.Get(key)
	switch {
	case !ok:
		value = make([]byte, 8)
	case len(value) != 8:
		return 0, errors.New("the value is not a counter")
	default:
		expires = h.State[key].Expires
	}
	sum := int64(binary.LittleEndian.Uint64(value)) + by
	return sum, h.Put(key, binary.LittleEndian.AppendUint64(nil, uint64(sum)), expires)
}

// Scan finds the needles.
func (h *Host) Scan(detectors []string, ends []uint32, data []byte) (hits []Hit) {
	for detector, name := range detectors {
		if !slices.Contains(Names(), name) {
			panic("there is no detector " + name)
		}
		needle, ok := h.Needles[name]
		if !ok {
			continue
		}
		from := uint32(0)
		for value, end := range ends {
			for at := from; ; {
				found := bytes.Index(data[at:end], []byte(needle))
				if found < 0 {
					break
				}
				start := at + uint32(found)
				hits = append(hits, Hit{uint32(value), start - from, uint32(len(needle)), uint32(detector), 50})
				at = start + uint32(len(needle))
			}
			from = end
		}
	}
	slices.SortFunc(hits, func(a, b Hit) int {
		return cmp.Or(cmp.Compare(a.Value, b.Value), cmp.Compare(a.Start, b.Start))
	})
	return hits
}

// HMACEach has no key: equal values stay equal, and that is all.
func (h *Host) HMACEach(ends []uint32, data []byte, length uint32) (out []byte) {
	from := uint32(0)
	for _, end := range ends {
		sum := sha256.Sum256(data[from:end])
		out = append(out, sum[:length]...)
		from = end
	}
	return out
}
