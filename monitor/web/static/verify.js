// The page "Check it in your browser". It loads the checker when the reader asks for it, hands it the
// files, and shows what it answers. All that is shown is set as text.
'use strict'

const form = document.getElementById('check')
const by = id => document.getElementById(id)
const {wasm, worker: workerSource, integrity, bundle: bundleSource, registry, name, version} = form.dataset
const limits = {crate: +form.dataset.maxCrate, opening: +form.dataset.maxOpening, bundle: 1 << 20, trust: 1 << 20, programs: 1 << 20}
const endings = {'.crate': 'crate', '.opening': 'opening', '.tlog-proof': 'bundle', '.policy': 'trust', '.json': 'programs'}
const files = {} // what the reader chose, by id of its input
const own = {} // whether the reader chose a file for a text, even if it is the one that was there

let worker, running, served // the checker, what waits for it, and the monitor's bundle

function element(tag, text, className) {
	const e = document.createElement(tag)
	if (text) e.textContent = text
	if (className) e.className = className
	return e
}

function verdict(tone, title, text) {
	const box = element('div', '', 'verdict ' + tone), inner = element('div')
	inner.append(element('strong', title), element('p', text))
	box.append(inner)
	return box
}

function show(...parts) { by('answer').replaceChildren(...parts) }

// start makes the checker ready, once.
async function start() {
	if (worker) return
	say('Loading the checker')
	const got = await fetch(wasm, {integrity})
	if (!got.ok) throw new Error('The checker cannot be loaded: the monitor answered ' + got.status + '.')
	const program = await got.arrayBuffer()
	say('Starting the checker')
	worker = new Worker(workerSource)
	try {
		await ask({wasm: program}, [program])
	} catch (err) {
		stop()
		throw err
	}
}

// ask sends the worker a message and waits for its answer.
function ask(message, transfer) {
	return new Promise((resolve, reject) => {
		running = reject
		worker.onmessage = ({data}) => data.failed ? reject(new Error(data.failed)) : resolve(data.answer)
		worker.onerror = e => { e.preventDefault(); reject(new Error('The checker cannot run in this browser: ' + (e.message || 'it was not started') + '.')) }
		worker.postMessage(message, transfer)
	})
}

function stop() {
	if (worker) worker.terminate()
	worker = undefined
}

// text is what a trust file or program file says: a space more does not make it the reader's own.
function text(file) { return file.replace(/\s+/g, '') }

function say(text) { by('state').textContent = text }

async function bytes(id) {
	const f = files[id]
	if (!f) return null
	if (f.size > limits[id]) throw new Error(f.name + ' has ' + f.size + ' bytes, at most ' + limits[id] + ' are read.')
	return new Uint8Array(await f.arrayBuffer())
}

async function bundle() {
	if (files.bundle) return bytes('bundle')
	if (!served) {
		const got = await fetch(bundleSource)
		if (!got.ok) throw new Error('The bundle cannot be loaded: the monitor answered ' + got.status + '. Choose one that you have from elsewhere.')
		served = await got.arrayBuffer()
	}
	return new Uint8Array(served.slice(0))
}

async function check() {
	by('run').disabled = true
	by('stop').hidden = false
	show()
	try {
		await start()
		say('Checking')
		const trust = by('trust'), programs = by('programs')
		const theirs = [trust, programs].some(t => !own[t.id] && text(t.value) !== '' && text(t.value) === text(t.defaultValue))
		const message = {
			question: {trust: trust.value, programs: programs.value, development: by('development').checked, registry, name, version},
			bundle: await bundle(), crate: await bytes('crate'), opening: await bytes('opening'),
		}
		const began = performance.now()
		const answer = await ask(message, [message.bundle, message.crate, message.opening].filter(Boolean).map(b => b.buffer))
		present(answer, theirs, Math.round(performance.now() - began))
	} catch (err) {
		show(verdict('bad', 'Nothing was verified', err.message))
	}
	running = undefined
	say('')
	by('run').disabled = false
	by('stop').hidden = true
}

function present(answer, theirs, took) {
	const good = answer.state === 'verified' && !answer.unsafe && !theirs
	const parts = [verdict(answer.state === 'refused' || answer.unsafe ? 'bad' : good ? 'good' : 'plain', answer.title, answer.text)]
	if (answer.state !== 'refused') {
		parts.push(element('p', theirs
			? 'This holds under what this monitor served to believe. It shows nothing about the monitor itself: choose a trust file of your own, and your own program file if the log has one.'
			: 'This holds under the trust file that you chose.', 'note' + (theirs ? ' wait' : '')))
	}
	const steps = element('ol', '', 'steps')
	for (const s of answer.steps) {
		const li = element('li')
		li.append(element('span', s.state, 'tag ' + ({ok: 'good', failed: 'bad'}[s.state] || '')), ' ', element('span', s.what))
		if (s.why && s.state === 'ok') li.append(element('p', s.why, 'small soft'))
		steps.append(li)
	}
	parts.push(element('h2', 'What was checked'), steps)
	if (answer.facts.length) {
		const facts = element('dl', '', 'facts')
		for (const f of answer.facts) {
			const row = element('div')
			row.append(element('dt', f.name), element('dd', f.value))
			facts.append(row)
		}
		parts.push(element('h2', 'What the checker read'), facts)
	}
	parts.push(element('p', 'Checked here in ' + took + ' ms.', 'small soft'))
	show(...parts)
}

// take keeps a file that was chosen or dropped; text goes where it can be read.
async function take(id, file) {
	if (id === 'trust' || id === 'programs') {
		if (file.size > limits[id]) return note(file.name + ' has ' + file.size + ' bytes, at most ' + limits[id] + ' are read.')
		by(id).value = await file.text()
		own[id] = true
		return note(file.name + ' is now the ' + (id === 'trust' ? 'trust file.' : 'program file.'))
	}
	files[id] = file
	note('Chosen: ' + file.name + ', ' + file.size + ' bytes.')
}

function note(text) { by('chosen').textContent = text }

for (const id of ['trust', 'programs', 'bundle', 'crate', 'opening']) {
	by(id + '-file').addEventListener('change', e => {
		if (e.target.files.length) take(id, e.target.files[0])
		else delete files[id]
	})
}

form.addEventListener('dragover', e => e.preventDefault())
form.addEventListener('drop', e => {
	e.preventDefault()
	for (const f of e.dataTransfer.files) {
		const end = Object.keys(endings).find(end => f.name.endsWith(end))
		if (end) take(endings[end], f)
		else note(f.name + ' is none of the files that can be dropped: their names end in ' + Object.keys(endings).join(', ') + '.')
	}
})
form.addEventListener('submit', e => { e.preventDefault(); check() })
by('stop').addEventListener('click', () => { stop(); if (running) running(new Error('You stopped it.')) })
by('own').hidden = false
