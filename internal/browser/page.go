package browser

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// View is how a page is looked at.
type View struct {
	Width, Height int // in CSS pixels
	Dark          bool
}

func (v View) String() string {
	if v.Dark {
		return fmt.Sprintf("%d-dark", v.Width)
	}
	return fmt.Sprintf("%d-light", v.Width)
}

// Views are those that every page must do well in.
var Views = []View{{320, 700, false}, {390, 844, false}, {390, 844, true}, {1280, 900, false}, {1280, 900, true}}

// Page is a tab with cookies and storage of its own.
type Page struct {
	b       *Browser
	context string
	session string
	loaded  chan struct{} // has room for one

	mu       sync.Mutex // protects what follows
	at       string     // what Open was asked for
	requests []string
	trouble  []string
}

// Page opens an empty tab.
func (b *Browser) Page(v View) (*Page, error) {
	var context struct{ BrowserContextID string }
	var target struct{ TargetID string }
	var attached struct{ SessionID string }
	err := b.call("", "Target.createBrowserContext", nil, &context)
	if err == nil {
		err = b.call("", "Target.createTarget", object{"url": "about:blank",
			"browserContextId": context.BrowserContextID}, &target)
	}
	if err == nil {
		err = b.call("", "Target.attachToTarget", object{"targetId": target.TargetID, "flatten": true}, &attached)
	}
	if err != nil {
		return nil, err
	}
	p := &Page{b: b, context: context.BrowserContextID, session: attached.SessionID, loaded: make(chan struct{}, 1)}
	b.mu.Lock()
	b.pages[p.session] = p
	b.mu.Unlock()
	for _, c := range []struct {
		method string
		params any
	}{
		{"Page.enable", nil}, {"Runtime.enable", nil}, {"Network.enable", nil}, {"Log.enable", nil}, {"DOM.enable", nil},
		{"Target.setAutoAttach", object{"autoAttach": true, "waitForDebuggerOnStart": true, "flatten": true}},
	} {
		if err := p.call(c.method, c.params, nil); err != nil {
			return nil, err
		}
	}
	return p, p.Look(v)
}

// Close closes the tab and forgets what it kept.
func (p *Page) Close() error {
	return p.b.call("", "Target.disposeBrowserContext", object{"browserContextId": p.context}, nil)
}

func (p *Page) call(method string, params, result any) error {
	return p.b.call(p.session, method, params, result)
}

// Look changes how the page is looked at.
func (p *Page) Look(v View) error {
	scheme := "light"
	if v.Dark {
		scheme = "dark"
	}
	return errors.Join(
		p.call("Emulation.setDeviceMetricsOverride", object{"width": v.Width, "height": v.Height, "deviceScaleFactor": 1,
			"mobile": false}, nil),
		p.call("Emulation.setEmulatedMedia", object{"features": []object{
			{"name": "prefers-color-scheme", "value": scheme}}}, nil))
}

// Offline takes the network away from the page, or gives it back.
func (p *Page) Offline(offline bool) error {
	return p.call("Network.emulateNetworkConditions", object{"offline": offline, "latency": 0, "downloadThroughput": -1,
		"uploadThroughput": -1}, nil)
}

// Open goes to an address and waits until the page is loaded. What Requests and Trouble tell
// begins here.
func (p *Page) Open(address string) error {
	p.mu.Lock()
	p.at, p.requests, p.trouble = address, nil, nil
	p.mu.Unlock()
	select {
	case <-p.loaded:
	default:
	}
	var gone struct{ ErrorText string }
	if err := p.call("Page.navigate", object{"url": address}, &gone); err != nil {
		return err
	}
	if gone.ErrorText != "" {
		return fmt.Errorf("%s: %s", address, gone.ErrorText)
	}
	select {
	case <-p.loaded:
		return nil
	case <-p.b.done:
		return errors.New("the browser has ended")
	case <-p.b.ctx.Done():
		return p.b.ctx.Err()
	case <-time.After(patience):
		return fmt.Errorf("%s is not loaded after %v", address, patience)
	}
}

// event notes what the browser says of this page, or of a worker of it.
func (p *Page) event(m message) {
	var e struct {
		SessionID string
		Request   struct{ URL string }
		Type      string
		Args      []struct {
			Value       any
			Description string
		}
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
		Entry struct{ Level, Source, Text, URL string }
	}
	if json.Unmarshal(m.Raw, &e) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m.Method {
	case "Page.loadEventFired":
		select {
		case p.loaded <- struct{}{}:
		default:
		}
	case "Target.attachedToTarget": // a worker, which waits until it is watched
		p.b.mu.Lock()
		p.b.pages[e.SessionID] = p
		p.b.mu.Unlock()
		for _, method := range []string{"Network.enable", "Runtime.enable", "Runtime.runIfWaitingForDebugger"} {
			_, _ = p.b.send(e.SessionID, method, nil) // the answers are of no interest
		}
	case "Network.requestWillBeSent":
		p.requests = append(p.requests, e.Request.URL)
	case "Runtime.exceptionThrown":
		p.trouble = append(p.trouble, "exception: "+e.ExceptionDetails.Text+" "+e.ExceptionDetails.Exception.Description)
	case "Runtime.consoleAPICalled":
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			text := "console." + e.Type + ":"
			for _, a := range e.Args {
				text += fmt.Sprint(" ", a.Value, a.Description)
			}
			p.trouble = append(p.trouble, text)
		}
	case "Log.entryAdded":
		own := e.Entry.Source == "network" && e.Entry.URL == p.at // a page about what is not there
		if (e.Entry.Level == "error" || e.Entry.Level == "warning") && !own {
			p.trouble = append(p.trouble, e.Entry.Source+": "+e.Entry.Text+" "+e.Entry.URL)
		}
	}
}

// Requests are the addresses that the page and its workers asked for since Open, in order.
func (p *Page) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

// Trouble is what went wrong since Open: errors and warnings on the console, exceptions, and
// requests to other origins than the page's.
func (p *Page) Trouble() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := slices.Clone(p.trouble)
	at, err := url.Parse(p.at)
	if err != nil {
		return append(all, err.Error())
	}
	for _, r := range p.requests {
		if u, err := url.Parse(r); err != nil || u.Host != at.Host && u.Scheme != "blob" && u.Scheme != "data" {
			all = append(all, "a request to another origin: "+r)
		}
	}
	return all
}

// Eval evaluates an expression in the page, waits for it if it is a promise, and decodes its value
// unless into is nil.
func (p *Page) Eval(expression string, into any) error {
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	if err := p.call("Runtime.evaluate", object{"expression": expression, "awaitPromise": true, "returnByValue": true},
		&r); err != nil {
		return err
	}
	if x := r.ExceptionDetails; x != nil {
		return fmt.Errorf("%.80s: %s %s", expression, x.Text, x.Exception.Description)
	}
	if into == nil {
		return nil
	}
	if len(r.Result.Value) == 0 {
		return fmt.Errorf("%.80s has no value", expression)
	}
	return json.Unmarshal(r.Result.Value, into)
}

// WaitFor waits until an expression is true.
func (p *Page) WaitFor(expression string) error {
	for end := time.Now().Add(patience); ; {
		var holds bool
		if err := p.Eval("!!("+expression+")", &holds); err != nil || holds {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: not so after %v", expression, patience)
		}
		select {
		case <-p.b.ctx.Done():
			return p.b.ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Choose gives files of this machine to a file input, as a person does who chooses them.
func (p *Page) Choose(selector string, files ...string) error {
	var document struct{ Root struct{ NodeID int } }
	var node struct{ NodeID int }
	err := p.call("DOM.getDocument", nil, &document)
	if err == nil {
		err = p.call("DOM.querySelector", object{"nodeId": document.Root.NodeID, "selector": selector}, &node)
	}
	if err == nil && node.NodeID == 0 {
		err = fmt.Errorf("the page has no %s", selector)
	}
	if err == nil {
		err = p.call("DOM.setFileInputFiles", object{"nodeId": node.NodeID, "files": files}, nil)
	}
	return err
}

// Screenshot writes the whole page to a PNG file.
func (p *Page) Screenshot(file string) error {
	var shot struct{ Data string }
	if err := p.call("Page.captureScreenshot", object{"format": "png", "captureBeyondViewport": true}, &shot); err != nil {
		return err
	}
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		return err
	}
	return os.WriteFile(file, png, 0o644)
}

// wide finds what reaches over the right edge of the page.
const wide = `(() => {
	const page = document.documentElement, found = []
	if (page.scrollWidth <= page.clientWidth) return found
	for (const e of document.body.querySelectorAll('*')) {
		if (e.getBoundingClientRect().right > page.clientWidth + 1 && found.length < 5)
			found.push(e.tagName.toLowerCase() + '.' + e.className + ': ' + e.textContent.trim().slice(0, 60))
	}
	return ['the page is ' + page.scrollWidth + ' pixels wide, and ' + page.clientWidth + ' are there', ...found]
})()`

// Wide returns nothing, or that the page scrolls sideways and what makes it do so.
func (p *Page) Wide() (found []string, err error) {
	err = p.Eval(wide, &found)
	return found, err
}

// Check returns everything that is wrong with the page as it is looked at: Trouble, Wide, and what
// axe-core, whose source is given, finds.
func (p *Page) Check(axe []byte) ([]string, error) {
	all := p.Trouble()
	found, err := p.Wide()
	if err != nil {
		return nil, err
	}
	all = append(all, found...)
	if axe == nil {
		return all, nil
	}
	if err := p.Eval("void 0;"+string(axe)+";void 0", nil); err != nil {
		return nil, err
	}
	var violations []struct {
		ID, Help string
		Nodes    []struct{ Target []any }
	}
	if err := p.Eval("axe.run(document, {resultTypes: ['violations']}).then(r => r.violations.map(v => "+
		"({id: v.id, help: v.help, nodes: v.nodes.map(n => ({target: n.target}))})))", &violations); err != nil {
		return nil, err
	}
	for _, v := range violations {
		at := []string{}
		for _, n := range v.Nodes[:min(3, len(v.Nodes))] {
			at = append(at, fmt.Sprint(n.Target...))
		}
		all = append(all, fmt.Sprintf("axe %s: %s (%d times, at %s)", v.ID, v.Help, len(v.Nodes), strings.Join(at, "; ")))
	}
	return all, nil
}
