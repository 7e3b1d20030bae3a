// Asks Go's x/mod about a checkpoint and one entry of the log: ask_go FILE; exit code 0 is yes, 1 is no.
// FILE is JSON: note, vkey, entry, index, proof (hashes); byte fields are base64.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type asked struct {
	Note  []byte
	Vkey  string
	Entry []byte
	Index int64
	Proof [][]byte
}

func check(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var found asked
	if err := json.Unmarshal(data, &found); err != nil {
		return err
	}
	verifier, err := note.NewVerifier(found.Vkey)
	if err != nil {
		return err
	}
	opened, err := note.Open(found.Note, note.VerifierList(verifier))
	if err != nil {
		return err
	}
	// A checkpoint is origin, size and root; x/mod's own reader wants the origin of its own log.
	lines := strings.SplitN(opened.Text, "\n", 3)
	if len(lines) < 3 {
		return fmt.Errorf("no checkpoint")
	}
	tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + lines[1] + "\n" + lines[2]))
	if err != nil {
		return err
	}
	proof := make(tlog.RecordProof, 0, len(found.Proof))
	for _, raw := range found.Proof {
		var hash tlog.Hash
		if len(raw) != len(hash) {
			return fmt.Errorf("a hash of %d bytes", len(raw))
		}
		copy(hash[:], raw)
		proof = append(proof, hash)
	}
	return tlog.CheckRecord(proof, tree.N, tree.Hash, found.Index, tlog.RecordHash(found.Entry))
}

func main() {
	if err := check(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
