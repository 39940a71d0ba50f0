package clustertest

import (
	"errors"
	"net"
	"sync"
)

// Link is a network between one process and one server: what connects to its address is connected to the server's.
// It can be cut and healed.
type Link struct {
	Address string // of loopback, as host:port

	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex // protects what follows
	state   state
	changed chan struct{} // closed, and replaced, when state changes
	open    map[net.Conn]bool
}

type state int

const (
	whole state = iota
	cut         // connections are reset, new ones at once
	black       // connections stay, new ones too, and nothing passes in either direction
	closed
)

// NewLink makes a link to an address, host:port.
func NewLink(target string) (*Link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &Link{Address: l.Addr().String(), target: target, listener: l, changed: make(chan struct{}),
		open: make(map[net.Conn]bool)}
	k.running.Go(k.accept)
	return k, nil
}

// Cut resets all connections, and each new one as soon as it is made: the server is not there.
func (k *Link) Cut() { k.set(cut) }

// Blackhole lets nothing pass, in either direction, and tells nobody. What is under way arrives if the link heals
// before one of the sides gives up.
func (k *Link) Blackhole() { k.set(black) }

// Heal makes the link whole again.
func (k *Link) Heal() { k.set(whole) }

// Close ends all connections, and frees the address.
func (k *Link) Close() error {
	k.set(closed)
	err := k.listener.Close()
	k.running.Wait()
	return err
}

func (k *Link) set(s state) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state == closed {
		return
	}
	k.state = s
	close(k.changed)
	k.changed = make(chan struct{})
	if s == cut || s == closed {
		for c := range k.open {
			reset(c)
		}
	}
}

// reset closes a connection so that the other side hears of it at once.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}

func (k *Link) accept() {
	for {
		c, err := k.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			k.running.Go(func() { k.join(c) })
		}
	}
}

// join connects a connection with the server, until one of them ends or the link is cut.
func (k *Link) join(c net.Conn) {
	if !k.enter(c) {
		return
	}
	defer k.leave(c)
	if !k.pass() {
		return
	}
	s, err := net.Dial("tcp", k.target)
	if err != nil || !k.enter(s) {
		reset(c)
		return
	}
	defer k.leave(s)
	var both sync.WaitGroup
	both.Go(func() { k.pump(c, s) })
	both.Go(func() { k.pump(s, c) })
	both.Wait()
}

// enter makes a connection one of the link's, if the link takes any.
func (k *Link) enter(c net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state == cut || k.state == closed {
		reset(c)
		return false
	}
	k.open[c] = true
	return true
}

func (k *Link) leave(c net.Conn) {
	c.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.open, c)
}

// pass waits until something may pass, and says whether the link is whole then.
func (k *Link) pass() bool {
	for {
		k.mu.Lock()
		s, changed := k.state, k.changed
		k.mu.Unlock()
		if s != black {
			return s == whole
		}
		<-changed
	}
}

// pump moves bytes one way, and then the end.
func (k *Link) pump(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !k.pass() {
			return // they are reset
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				from.Close()
				return
			}
		}
		if err != nil {
			if t, ok := to.(*net.TCPConn); ok {
				t.CloseWrite()
			}
			return
		}
	}
}
