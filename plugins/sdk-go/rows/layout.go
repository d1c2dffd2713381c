package rows

import "portcullis/policy/internal/abi"

type (
	planResult struct {
		tag  uint8
		plan plan
	}
	plan struct {
		rules   abi.List
		limited uint8
		maxRows uint64
	}
	rule struct {
		column uint32
		action action
	}
	// action has room for a mask. A message lies where the mask's name does.
	action struct {
		kind             uint8
		name, parameters abi.List
	}
	parameter struct{ name, value abi.List }

	chunk struct {
		column            uint32
		nulls, ends, data abi.List
	}
	batchResult struct {
		tag   uint8
		batch batch
	}
	batch struct {
		edits, dropRows abi.List
		abort           abi.OptionList
	}
	// edit has room for a patch.
	edit struct {
		kind  uint8
		lists [4]abi.List
	}
)
