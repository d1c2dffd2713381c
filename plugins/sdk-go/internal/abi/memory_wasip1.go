package abi

import "unsafe"

// lifted has what the host wrote during this question. As numbers are all that leads there, it would be garbage otherwise.
var lifted [][]uint64

// lowered has what the last answer points to. The host reads it after the answer was returned.
var lowered []unsafe.Pointer

// dropped are handles that the question's end gives back.
var dropped []func()

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	if size == 0 {
		// Whoever asks for nothing gets an address that is aligned and never read.
		return pointer(align)
	}
	// Words are aligned as strictly as the interface ever asks for.
	words := make([]uint64, (uint64(size)+7)/8)
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), size), unsafe.Slice((*byte)(old), oldSize))
	}
	lifted = append(lifted, words)
	return unsafe.Pointer(&words[0])
}

// Begin begins an answer.
func Begin() { lowered = nil }

// AtEnd has something done when the question has been answered.
func AtEnd(drop func()) { dropped = append(dropped, drop) }

// End ends an answer.
func End() {
	for _, drop := range dropped {
		drop()
	}
	lifted, dropped = nil, nil
}

// String is what lies there. Nobody else has it, so it is not copied.
func String(l List) string {
	if l.Len == 0 {
		return ""
	}
	return unsafe.String((*byte)(pointer(l.Ptr)), l.Len)
}

// Slice is what lies there. Nobody else has it, so it is not copied.
func Slice[T any](l List) []T {
	if l.Len == 0 {
		return nil
	}
	return unsafe.Slice((*T)(pointer(l.Ptr)), l.Len)
}

// Map lifts each element.
func Map[T, U any](l List, lift func(T) U) []U {
	from := Slice[T](l)
	to := make([]U, len(from))
	for i, one := range from {
		to[i] = lift(one)
	}
	return to
}

// Strings lifts a list of strings.
func Strings(l List) []string { return Map(l, String) }

// LowerString keeps a string for the host.
func LowerString(s string) List { return keep(unsafe.StringData(s), len(s)) }

// LowerSlice keeps a slice for the host.
func LowerSlice[T any](s []T) List { return keep(unsafe.SliceData(s), len(s)) }

// LowerMap lowers each element.
func LowerMap[T, U any](from []T, lower func(T) U) List {
	to := make([]U, len(from))
	for i, one := range from {
		to[i] = lower(one)
	}
	return LowerSlice(to)
}

// LowerStrings keeps strings for the host.
func LowerStrings(s []string) List { return LowerMap(s, LowerString) }

// LowerOption keeps a string for the host; the empty one is none.
func LowerOption(s string) OptionList {
	if s == "" {
		return OptionList{}
	}
	return OptionList{Some: 1, List: LowerString(s)}
}

// Answer keeps a value for the host and says where it is.
func Answer[T any](value T) unsafe.Pointer {
	at := unsafe.Pointer(&value)
	lowered = append(lowered, at)
	return at
}

func keep[T any](first *T, length int) List {
	lowered = append(lowered, unsafe.Pointer(first))
	return List{Ptr: uint32(uintptr(unsafe.Pointer(first))), Len: uint32(length)}
}

// pointer is where a number points to. The memory is kept by lifted, if it came from realloc.
func pointer(at uint32) unsafe.Pointer {
	address := uintptr(at)
	return *(*unsafe.Pointer)(unsafe.Pointer(&address))
}
