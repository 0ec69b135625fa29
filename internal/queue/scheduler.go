package queue

import (
	"cmp"
	"container/heap"
	"container/list"
	"context"
	"sync"
	"time"
)

// scheduler is the order of delivery of the messages that this node owns, in memory. It does no
// I/O and reads no clock. The watch tells it of every change, the node's own ones included, so it
// is never ahead of the records.
type scheduler struct {
	kick chan struct{} // something is due earlier than what the clock waits for

	limit int // claims of one group that may be open; 0 means any number

	mu       sync.Mutex // guards what follows and all items
	items    map[string]*item
	future   dueHeap           // not due yet
	groups   map[string]*group // those with messages that are due or claimed
	turns    list.List         // those with messages to claim, in the order of their turns
	claimers list.List         // of chan *item: claims that wait
	claimed  int
	last     int64 // what the clock said last, Unix nanoseconds
}

// soon is the longest delay that is meant as one: a longer one leads to a time of the day.
const soon = int64(15 * time.Minute)

// hold keeps what is due soon from waiting longer than it was to when the clock was set back.
func (it *item) hold(now time.Time) {
	if delay := max(it.due-it.from, 0); it.from != 0 && now.UnixNano() < it.from && delay <= soon {
		it.due, it.from = min(it.due, now.UnixNano()+delay), now.UnixNano()
	}
}

// item is one message, by what delivering it needs. Its place is one of: future, its group's
// ready heap, or nowhere while it is claimed.
type item struct {
	key       string
	group     string
	shard     int
	fence     int64 // the owner's, when it was loaded
	rev       int64 // of the record
	due       int64 // Unix nanoseconds
	from      int64 // when due was reckoned, by the clock of then; zero if that is not known
	published int64

	heap    *dueHeap // where it waits; nil while it is claimed
	at      int      // index there
	claimed bool
}

type group struct {
	name    string
	ready   dueHeap // due, and claimed by nobody
	claimed int
	turn    *list.Element // nil while nothing of it may be claimed
}

// newScheduler makes a scheduler that has no more than limit claims of a group open, if it is not 0.
func newScheduler(limit int) *scheduler {
	return &scheduler{limit: limit, kick: make(chan struct{}, 1), items: map[string]*item{}, groups: map[string]*group{}}
}

// put adds a message, or replaces what is known of it. An item that is not newer changes nothing,
// so that a listing disturbs no claim.
func (s *scheduler) put(it *item, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.items[it.key]; old != nil {
		if old.rev >= it.rev && old.fence == it.fence {
			return
		}
		s.forget(old)
	}
	s.items[it.key] = it
	s.place(it, now)
	s.dispatch()
}

// place has an item wait for its time or for its group's turn.
func (s *scheduler) place(it *item, now time.Time) {
	it.hold(now)
	if it.due > now.UnixNano() {
		s.future.push(it)
		if s.future[0] == it {
			select {
			case s.kick <- struct{}{}:
			default:
			}
		}
		return
	}
	s.ready(it)
}

func (s *scheduler) ready(it *item) {
	g := s.groups[it.group]
	if g == nil {
		g = &group{name: it.group}
		s.groups[it.group] = g
	}
	g.ready.push(it)
	s.settle(g)
}

// settle gives a group a turn or takes it away, after its messages or claims changed.
func (s *scheduler) settle(g *group) {
	open := len(g.ready) > 0 && (s.limit == 0 || g.claimed < s.limit)
	switch {
	case open && g.turn == nil:
		g.turn = s.turns.PushBack(g)
	case !open && g.turn != nil:
		s.turns.Remove(g.turn)
		g.turn = nil
	}
	if len(g.ready) == 0 && g.claimed == 0 {
		delete(s.groups, g.name)
	}
}

// forget takes an item out of every place.
func (s *scheduler) forget(it *item) {
	delete(s.items, it.key)
	if it.heap != nil {
		it.heap.remove(it)
	}
	g := s.groups[it.group]
	if it.claimed {
		it.claimed = false
		s.claimed--
		g.claimed--
	}
	if g != nil {
		s.settle(g)
	}
	s.dispatch() // another message of its group may have its turn now
}

// remove forgets a message that is gone.
func (s *scheduler) remove(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if it := s.items[key]; it != nil {
		s.forget(it)
	}
}

// acked forgets a message whose record this node has removed.
func (s *scheduler) acked(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.items[it.key] == it {
		s.forget(it)
	}
}

// retain forgets the messages of a shard that keep does not name; nil names none.
func (s *scheduler) retain(shard int, keep map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, it := range s.items {
		if it.shard == shard && !keep[key] {
			s.forget(it)
		}
	}
}

// advance moves what has become due, and returns when the next message will be; zero if none.
func (s *scheduler) advance(now time.Time) (next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.UnixNano() < s.last {
		for _, it := range s.future {
			it.hold(now)
		}
		heap.Init(&s.future)
	}
	s.last = now.UnixNano()
	for len(s.future) > 0 && s.future[0].due <= now.UnixNano() {
		it := s.future[0]
		s.future.remove(it)
		s.ready(it)
	}
	s.dispatch()
	if len(s.future) == 0 {
		return time.Time{}
	}
	return time.Unix(0, s.future[0].due)
}

// dispatch hands due messages to claims that wait.
func (s *scheduler) dispatch() {
	for s.claimers.Len() > 0 && s.turns.Len() > 0 {
		c := s.claimers.Remove(s.claimers.Front()).(chan *item)
		c <- s.take()
	}
}

// take claims the earliest message of the group whose turn it is.
func (s *scheduler) take() *item {
	g := s.turns.Front().Value.(*group)
	it := g.ready[0]
	g.ready.remove(it)
	s.turns.MoveToBack(g.turn)
	it.claimed = true
	s.claimed++
	g.claimed++
	s.settle(g)
	return it
}

// claim waits for a due message.
func (s *scheduler) claim(ctx context.Context) (*item, error) {
	c := make(chan *item, 1)
	s.mu.Lock()
	place := s.claimers.PushBack(c)
	s.dispatch()
	s.mu.Unlock()
	select {
	case it := <-c:
		return it, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case it := <-c: // handed over at the last moment
		s.unclaim(it)
	default:
		s.claimers.Remove(place)
	}
	return nil, ctx.Err()
}

// release gives a claimed message back as if it had not been claimed.
func (s *scheduler) release(it *item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unclaim(it)
}

func (s *scheduler) unclaim(it *item) {
	if !it.claimed {
		return // gone or replaced meanwhile
	}
	it.claimed = false
	s.claimed--
	s.groups[it.group].claimed--
	s.ready(it)
	s.dispatch()
}

func (s *scheduler) stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Stats{Depth: len(s.items), Claimed: s.claimed, Ready: len(s.items) - s.claimed - len(s.future)}
	oldest := int64(0)
	for _, it := range s.items {
		if oldest == 0 || it.published < oldest {
			oldest = it.published
		}
	}
	if oldest != 0 {
		out.Oldest = time.Unix(0, oldest)
	}
	return out
}

// dueHeap has the earliest item first; the key decides between equals, so that messages of one
// instant go in the order of their (time-ordered) IDs.
type dueHeap []*item

func (h *dueHeap) push(it *item) {
	it.heap = h
	heap.Push(h, it)
}

func (h *dueHeap) remove(it *item) {
	heap.Remove(h, it.at)
	it.heap = nil
}

func (h dueHeap) Len() int { return len(h) }

func (h dueHeap) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].due, h[j].due), cmp.Compare(h[i].key, h[j].key)) < 0
}

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push is for container/heap.
func (h *dueHeap) Push(x any) {
	it := x.(*item)
	it.at = len(*h)
	*h = append(*h, it)
}

// Pop is for container/heap.
func (h *dueHeap) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return it
}
