package host

import (
	"runtime"
	"strings"
	"unsafe"

	"portcullis/policy/internal/abi"
)

// Log writes a line of at most 1024 bytes to the gateway's log.
func Log(level Level, message string) {
	logWrite(uint32(level), strings.ToValidUTF8(message, "\uFFFD"))
}

// Now is the time in milliseconds since the Unix epoch.
func Now() uint64 { return clockNow() }

// Random is n random bytes, at most 4096.
func Random(n uint32) []byte {
	var out abi.List
	randomBytes(n, unsafe.Pointer(&out))
	return abi.Slice[byte](out)
}

// Get is the value of a key, and whether there is one.
func Get(key string) ([]byte, bool) {
	var out abi.OptionList
	stateGet(key, unsafe.Pointer(&out))
	return abi.Slice[byte](out.List), out.Some != 0
}

// Put sets the value of a key for a time.
func Put(key string, value []byte, ttlSeconds uint32) error {
	// An error lies where a value would.
	var out abi.OptionList
	statePut(key, unsafe.Pointer(unsafe.SliceData(value)), uint32(len(value)), ttlSeconds, unsafe.Pointer(&out))
	if out.Some != 0 {
		return StateError(abi.String(out.List))
	}
	return nil
}

// Increment adds to a counter and returns the sum. The time runs from the first increment, so that a counter is a window.
func Increment(key string, by int64, ttlSeconds uint32) (int64, error) {
	var out struct {
		tag uint8
		sum int64
	}
	stateIncrement(key, by, ttlSeconds, unsafe.Pointer(&out))
	if out.tag != 0 {
		return 0, StateError(abi.String(*(*abi.List)(unsafe.Pointer(&out.sum))))
	}
	return out.sum, nil
}

// Detectors are the names that Scan knows: "email", "card", "ssn", "iban", "phone" and "secret".
func Detectors() []string {
	var out abi.List
	detectNames(unsafe.Pointer(&out))
	return abi.Strings(out)
}

// Scan looks for personal data and secrets in all values of a chunk: value i is data[ends[i-1]:ends[i]]. Hits are in order and
// do not overlap within a value.
func Scan(detectors []string, ends []uint32, data []byte) []Hit {
	names := make([]abi.List, len(detectors))
	for i, name := range detectors {
		names[i] = abi.List{Ptr: uint32(uintptr(unsafe.Pointer(unsafe.StringData(name)))), Len: uint32(len(name))}
	}
	var out abi.List
	detectScan(unsafe.Pointer(unsafe.SliceData(names)), uint32(len(names)),
		unsafe.Pointer(unsafe.SliceData(ends)), uint32(len(ends)),
		unsafe.Pointer(unsafe.SliceData(data)), uint32(len(data)), unsafe.Pointer(&out))
	runtime.KeepAlive(detectors)
	return abi.Slice[Hit](out)
}

// HMACEach is the first length bytes, 1 to 32, of the HMAC-SHA-256 of each value under the gateway's masking key, one after another.
func HMACEach(ends []uint32, data []byte, length uint32) []byte {
	var out abi.List
	cryptoHMACEach(unsafe.Pointer(unsafe.SliceData(ends)), uint32(len(ends)),
		unsafe.Pointer(unsafe.SliceData(data)), uint32(len(data)), length, unsafe.Pointer(&out))
	return abi.Slice[byte](out)
}

//go:wasmimport portcullis:policy/log@0.1.1 write
func logWrite(level uint32, message string)

//go:wasmimport portcullis:policy/clock@0.1.1 now-ms
func clockNow() uint64

//go:wasmimport portcullis:policy/random@0.1.1 bytes
func randomBytes(n uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/state@0.1.1 get
func stateGet(key string, out unsafe.Pointer)

//go:wasmimport portcullis:policy/state@0.1.1 put
func statePut(key string, value unsafe.Pointer, length, ttlSeconds uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/state@0.1.1 increment
func stateIncrement(key string, by int64, ttlSeconds uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/detect@0.1.1 names
func detectNames(out unsafe.Pointer)

//go:wasmimport portcullis:policy/detect@0.1.1 scan
func detectScan(names unsafe.Pointer, namesLen uint32, ends unsafe.Pointer, endsLen uint32, data unsafe.Pointer, dataLen uint32, out unsafe.Pointer)

//go:wasmimport portcullis:policy/crypto@0.1.1 hmac-each
func cryptoHMACEach(ends unsafe.Pointer, endsLen uint32, data unsafe.Pointer, dataLen, length uint32, out unsafe.Pointer)
