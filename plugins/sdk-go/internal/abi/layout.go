// Package abi is the canonical ABI of the component model, as far as the interface needs it: how values lie in memory, and who
// keeps them there. Guests have 64-bit pointers in Go and 32-bit ones in the interface, so that layouts hold numbers.
package abi

// A List is a string or a list: where it begins and how many elements it has.
type List struct{ Ptr, Len uint32 }

// An OptionList is an optional string or list.
type OptionList struct {
	Some uint8
	List List
}

// A Failure is the error of a result whose payloads have no 64-bit number.
type Failure struct {
	Tag           uint8
	Code, Message List
}

// A WideFailure is the error of a result with a payload that has a 64-bit number.
type WideFailure struct {
	Tag           uint8
	_             [7]uint8
	Code, Message List
}
