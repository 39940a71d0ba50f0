// What speaks with the page, below wasm_exec.js of the Go toolchain. The policy of this worker lets
// it reach nobody: it gets the program and all files from the page.
'use strict'

onmessage = async ({data}) => {
	try {
		if (data.wasm) {
			const go = new Go()
			const {instance} = await WebAssembly.instantiate(data.wasm, go.importObject)
			go.run(instance).then(() => postMessage({failed: 'the checker has ended'}))
			postMessage({ready: true})
			return
		}
		const answer = cratelogVerify(JSON.stringify(data.question), data.bundle, data.crate, data.opening)
		if (typeof answer !== 'string') throw answer || new Error('the checker gave no answer')
		postMessage({answer: JSON.parse(answer)})
	} catch (err) {
		postMessage({failed: String(err && err.message || err)})
	}
}
