//go:build js && wasm

// Command wasm is package verify for browsers. It defines one function, for the worker of the monitor's
// pages:
//
//	cratelogVerify(question, bundle, crate, opening) -> answer
//
// with question and answer as JSON, and files as Uint8Array or null.
package main

import (
	"encoding/json"
	"fmt"
	"syscall/js"

	"cratelog/monitor/web/verify"
)

func main() {
	js.Global().Set("cratelogVerify", js.FuncOf(func(_ js.Value, args []js.Value) any {
		text, err := answer(args)
		if err != nil { // which the page shows as what it is: nothing was verified
			return js.Global().Get("Error").New(err.Error())
		}
		return text
	}))
	select {}
}

func answer(args []js.Value) (text string, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the checker failed: %v", v)
		}
	}()
	if len(args) != 4 {
		return "", fmt.Errorf("%d arguments, 4 are wanted", len(args))
	}
	var q verify.Question
	if err := json.Unmarshal([]byte(args[0].String()), &q); err != nil {
		return "", err
	}
	q.Bundle, q.Crate, q.Opening = file(args[1]), file(args[2]), file(args[3])
	b, err := json.Marshal(verify.Check(&q))
	return string(b), err
}

// file copies a Uint8Array; nil for null.
func file(v js.Value) []byte {
	if v.IsNull() {
		return nil
	}
	b := make([]byte, v.Length())
	js.CopyBytesToGo(b, v)
	return b
}
