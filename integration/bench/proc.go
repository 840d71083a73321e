package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// pss is the proportional set size of a process in KiB.
func pss(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
			return strconv.Atoi(f[1])
		}
	}
	return 0, errors.New("no Pss in smaps_rollup")
}

// wholeCPU is the processor time of a server and of the programs that it cannot do without.
func wholeCPU(s server) (sum time.Duration, err error) {
	for _, pid := range append(s.helpers(), s.pid()) {
		cpu, e := treeCPU(pid)
		sum, err = sum+cpu, errors.Join(err, e)
	}
	return sum, err
}

// tick is the unit of times in /proc/PID/stat (USER_HZ, 100 on every Linux).
const tick = 10 * time.Millisecond

// treeCPU is the processor time of a process, of all its living descendants, and of all the children that they have
// waited for. Postfix is many processes, and a parent is told only of those that have ended.
func treeCPU(pid int) (time.Duration, error) {
	times, children := map[int]int{}, map[int][]int{}
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			continue // it has just ended
		}
		id, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			return 0, err
		}
		_, rest, _ := strings.Cut(string(text), ") ") // the name in parentheses may hold anything
		fields := strings.Fields(rest)
		if len(fields) < 15 {
			return 0, fmt.Errorf("%s: %d fields", f, len(fields))
		}
		var n [15]int
		for i := 1; i < 15; i++ {
			n[i], _ = strconv.Atoi(fields[i])
		}
		children[n[1]] = append(children[n[1]], id)
		times[id] = n[11] + n[12] + n[13] + n[14] // utime, stime, cutime, cstime
	}
	if _, ok := times[pid]; !ok {
		return 0, errors.New("the server has ended")
	}
	sum := 0
	for queue := []int{pid}; len(queue) > 0; queue = queue[1:] {
		sum += times[queue[0]]
		queue = append(queue, children[queue[0]]...)
	}
	return time.Duration(sum) * tick, nil
}
