package queue

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// crashPath names the database in the environment of a process that is to be killed.
const crashPath = "MXBYPASS_TEST_QUEUE"

// TestVictim is not a test: it is the process that TestKill kills. It says what it was told is done, in lines.
func TestVictim(t *testing.T) {
	path := os.Getenv(crashPath)
	if path == "" {
		return
	}
	q := openAt(t, path, nil)
	var all sync.WaitGroup
	for worker := range 20 {
		all.Go(func() {
			for n := 0; ; n++ {
				id := fmt.Sprintf("%d-%d-%d", os.Getpid(), worker, n)
				size := 1000 + n
				if worker == 0 {
					size = 2*atOnce + n
				}
				fmt.Println("begin", id, size)
				items, err := q.Put(context.Background(), Entry{Message: messageOf(id, file(text(size))),
					Recipients: []Recipient{recipientOf(wallClock{}, "mx:a.test", "x@a.test")}}, n%2 == 0)
				if err != nil {
					fmt.Println("error", err)
					return
				}
				fmt.Println("put", id, size)
				if n%4 == 0 {
					fmt.Println("going", id, size)
					if err := q.Finish(context.Background(), []Outcome{{Item: items[0], Kind: Gone}}, nil); err != nil {
						fmt.Println("error", err)
						return
					}
					fmt.Println("gone", id, size)
				}
			}
		})
	}
	all.Wait()
}

// A process that is killed loses nothing of what it acknowledged, and leaves nothing half done.
func TestKill(t *testing.T) {
	path := filepath.Join(tempDir(t), "queue.db")
	said := map[string]map[string]int{"begin": {}, "put": {}, "going": {}, "gone": {}}
	for round := range 4 {
		kill(t, path, 100*(round+1), said)
		checkSurvivors(t, path, said)
	}
}

// kill runs a victim until it has said so many lines.
func kill(t *testing.T, path string, lines int, said map[string]map[string]int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVictim$")
	cmd.Env = append(os.Environ(), crashPath+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	text := bufio.NewScanner(out)
	for n := 0; text.Scan(); n++ {
		var what, id string
		var size int
		if _, err := fmt.Sscan(text.Text(), &what, &id, &size); err != nil || said[what] == nil {
			t.Errorf("the victim says %q", text.Text())
			continue
		}
		said[what][id] = size
		if n == lines {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatal("the victim was not killed:", err)
	}
}

func checkSurvivors(t *testing.T, path string, said map[string]map[string]int) {
	t.Helper()
	q := openAt(t, path, nil)
	a, err := OpenAdmin(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for l, err := range a.List(t.Context(), Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		id := l.Message.ID
		left[id] = true
		if said["gone"][id] != 0 || said["begin"][id] == 0 || l.State != Waiting || l.InDoubt != (l.Attempts == 1) {
			t.Errorf("%s is there: %+v", id, l)
		}
		want := text(said["begin"][id])
		if got, err := io.ReadAll(q.Content(l.Message).NewReader()); err != nil || string(got) != string(want) {
			t.Errorf("%s: %d octets, want %d: %v", id, len(got), len(want), err)
		}
	}
	for id := range said["put"] {
		if !left[id] && said["going"][id] == 0 {
			t.Errorf("%s is lost", id)
		}
	}
	n := rows(t, q)
	if n["orphan"] != 0 || n["message"] != int64(len(left)) || n["recipient"] != int64(len(left)) {
		t.Errorf("%v for %d messages", n, len(left))
	}
	stray, err := q.readers.numbers(t.Context(), "SELECT count(*) FROM chunk WHERE id >> 20 NOT IN (SELECT id FROM message)")
	if err != nil || stray[0][0] != 0 {
		t.Errorf("%v chunks of nothing: %v", stray, err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}
