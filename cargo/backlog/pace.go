package backlog

import "time"

// pace guesses how long a run will take, from the segments that were proven: a proof takes as long as it
// has segments. Its owner guards it.
type pace struct {
	size   map[*item]int // segments of each crate that is to be proven; 0 if not known yet
	known  int           // crates whose size is known
	total  int           // their segments, also of those that have left
	done   int           // segments that were proven
	begin  time.Time     // of the first proof
	active map[*item]func() float64
}

// usual is what a crate of unknown size is taken for before there is one: the median of real crates.
const usual = 2

func (p *pace) expect(it *item) {
	if p.size == nil {
		p.size, p.active = map[*item]int{}, map[*item]func() float64{}
	}
	p.size[it] = 0
}

func (p *pace) learn(it *item, segments int) {
	p.size[it] = segments
	p.known++
	p.total += segments
}

// start says that a crate is proven now, and how much of that is done.
func (p *pace) start(it *item, share func() float64) {
	if p.begin.IsZero() {
		p.begin = time.Now()
	}
	p.active[it] = share
}

// finish says that it was.
func (p *pace) finish(it *item) { p.done += p.size[it] }

// leave says that nothing more is to be done for a crate.
func (p *pace) leave(it *item) {
	delete(p.size, it)
	delete(p.active, it)
}

func (p *pace) now() (name string, share float64, left time.Duration) {
	each := float64(usual)
	if p.known > 0 {
		each = float64(p.total) / float64(p.known)
	}
	done, rest := float64(p.done), 0.0
	for it, size := range p.size {
		whole := float64(size)
		if size == 0 {
			whole = each
		}
		if f := p.active[it]; f != nil {
			if name == "" || it.Name+" "+it.Version < name {
				name = it.Name + " " + it.Version
			}
			part := whole * f()
			done, whole = done+part, whole-part
		}
		rest += whole
	}
	if done+rest == 0 {
		return name, 1, 0
	}
	if done >= 1 {
		left = time.Duration(float64(time.Since(p.begin)) * rest / done)
	}
	return name, done / (done + rest), left
}
