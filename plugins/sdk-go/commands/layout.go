package commands

import "portcullis/policy/internal/abi"

type (
	verdictResult struct {
		tag     uint8
		verdict verdict
	}
	verdict struct {
		decision uint8
		message  abi.OptionList
		rewrite  abi.OptionList
		reviewed uint8
		approval approval
		findings abi.List
	}
	approval struct {
		anyOf      abi.List
		quorum     uint32
		ttlSeconds uint32
		reuse      uint8
		reason     abi.List
	}
	finding struct{ rule, message abi.List }
)
