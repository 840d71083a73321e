package greylist

// record is what is remembered of a key.
type record struct {
	key     key
	network key   // of a triple that waits
	at      int64 // unix seconds
	count   int32
	since   int64 // for networks: when the last triple that counts has passed

	all, own links // places in the order of all, and in that of its network
}

// links lead to the older and the younger neighbour; -1 is none.
type links struct{ older, younger int32 }

// chain is an order of records. Its zero value with n zero is empty.
type chain struct {
	n                int
	oldest, youngest int32
}

// memory remembers a bounded number of records in the order of their last use. It is not safe for concurrent use.
type memory struct {
	records []record
	free    []int32
	index   map[key]int32
	all     chain
	own     map[key]chain // by network; only of records that have one
}

func newMemory() *memory { return &memory{index: map[key]int32{}, own: map[key]chain{}} }

func (m *memory) len() int { return m.all.n }

// get gives the record of a key; nil when there is none. It is good until the next change.
func (m *memory) get(k key) *record {
	if i, ok := m.index[k]; ok {
		return &m.records[i]
	}
	return nil
}

// oldest gives the record that was used least lately, of all or of a network.
func (m *memory) oldest() *record {
	if m.all.n == 0 {
		return nil
	}
	return &m.records[m.all.oldest]
}

func (m *memory) oldestOf(network key) *record {
	c := m.own[network]
	if c.n == 0 {
		return nil
	}
	return &m.records[c.oldest]
}

// add puts a record at the young end. Its key is new.
func (m *memory) add(r record) {
	var i int32
	if n := len(m.free); n > 0 {
		i, m.free = m.free[n-1], m.free[:n-1]
		m.records[i] = r
	} else {
		i = int32(len(m.records))
		m.records = append(m.records, r)
	}
	m.index[r.key] = i
	m.link(i)
}

// remove forgets a key.
func (m *memory) remove(k key) {
	i, ok := m.index[k]
	if !ok {
		return
	}
	m.unlink(i)
	delete(m.index, k)
	m.free = append(m.free, i)
}

// touch makes the record of a key the youngest.
func (m *memory) touch(k key) {
	if i, ok := m.index[k]; ok {
		m.unlink(i)
		m.link(i)
	}
}

// each hands every record to f, the oldest first.
func (m *memory) each(f func(*record)) {
	for i, n := m.all.oldest, m.all.n; n > 0; n-- {
		r := &m.records[i]
		f(r)
		i = r.all.younger
	}
}

func (m *memory) link(i int32) {
	m.all = m.append(m.all, i, func(r *record) *links { return &r.all })
	if network := m.records[i].network; network != (key{}) {
		m.own[network] = m.append(m.own[network], i, func(r *record) *links { return &r.own })
	}
}

func (m *memory) unlink(i int32) {
	m.all = m.cut(m.all, i, func(r *record) *links { return &r.all })
	network := m.records[i].network
	if network == (key{}) {
		return
	}
	c := m.cut(m.own[network], i, func(r *record) *links { return &r.own })
	if c.n == 0 {
		delete(m.own, network)
		return
	}
	m.own[network] = c
}

func (m *memory) append(c chain, i int32, of func(*record) *links) chain {
	l := of(&m.records[i])
	*l = links{-1, -1}
	if c.n == 0 {
		return chain{1, i, i}
	}
	l.older = c.youngest
	of(&m.records[c.youngest]).younger = i
	return chain{c.n + 1, c.oldest, i}
}

func (m *memory) cut(c chain, i int32, of func(*record) *links) chain {
	l := *of(&m.records[i])
	if l.older >= 0 {
		of(&m.records[l.older]).younger = l.younger
	} else {
		c.oldest = l.younger
	}
	if l.younger >= 0 {
		of(&m.records[l.younger]).older = l.older
	} else {
		c.youngest = l.older
	}
	c.n--
	return c
}
