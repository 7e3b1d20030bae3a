// Asks Go's x/mod about a log: ask_go entry|growth|tiles FILE; exit code 0 is yes, 1 is no.
//
// FILE is JSON, its byte fields base64. All three give note and vkey, and may give witness, the vkey of a cosigner that
// must have signed too. entry: Entry, Index, Proof. growth: Old, the note of the smaller log, and Proof. tiles: Files,
// the log's tile files by path, and optionally Index, Proof and OldSize, Growth: the proofs that these tiles must give.
package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8 // of a tile: 256 hashes

type asked struct {
	Note    []byte
	Vkey    string
	Witness string
	Entry   []byte
	Index   int64
	Proof   [][]byte
	Old     []byte
	OldSize int64
	Growth  [][]byte
	Files   map[string][]byte
}

// cosigner verifies C2SP cosignature/v1 lines, which x/mod does not know.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.hash }
func (c cosigner) Verify(text, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	head := fmt.Sprintf("cosignature/v1\ntime %d\n", binary.BigEndian.Uint64(sig))
	return ed25519.Verify(c.key, append([]byte(head), text...), sig[8:])
}

func newCosigner(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, fmt.Errorf("no vkey")
	}
	hash, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != 4 {
		return nil, fmt.Errorf("no key of a cosigner")
	}
	return cosigner{parts[0], uint32(hash), key[1:]}, nil
}

// open returns the tree of a checkpoint that the log, and the witness where one is named, signed.
func open(data []byte, found asked) (tree tlog.Tree, err error) {
	verifier, err := note.NewVerifier(found.Vkey)
	if err != nil {
		return tree, err
	}
	known := []note.Verifier{verifier}
	if found.Witness != "" {
		witness, err := newCosigner(found.Witness)
		if err != nil {
			return tree, err
		}
		known = append(known, witness)
	}
	opened, err := note.Open(data, note.VerifierList(known...))
	if err != nil {
		return tree, err
	}
	if len(opened.Sigs) != len(known) {
		return tree, fmt.Errorf("%d of %d signed", len(opened.Sigs), len(known))
	}
	// A checkpoint is origin, size and root; x/mod's own reader wants the origin of its own log.
	lines := strings.SplitN(opened.Text, "\n", 3)
	if len(lines) < 3 {
		return tree, fmt.Errorf("no checkpoint")
	}
	return tlog.ParseTree([]byte("go.sum database tree\n" + lines[1] + "\n" + lines[2]))
}

func hashes(raws [][]byte) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(raws))
	for at, raw := range raws {
		if len(raw) != len(found[at]) {
			return nil, fmt.Errorf("a hash of %d bytes", len(raw))
		}
		copy(found[at][:], raw)
	}
	return found, nil
}

// folder is a log's files as x/mod reads tiles; C2SP leaves the height out of their paths.
type folder map[string][]byte

func path(tile tlog.Tile) string {
	return strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
}

func (f folder) Height() int                         { return height }
func (f folder) SaveTiles(_ []tlog.Tile, _ [][]byte) {}
func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, len(tiles))
	for at, tile := range tiles {
		data, there := f[path(tile)]
		if !there {
			return nil, fmt.Errorf("no %s", path(tile))
		}
		found[at] = data
	}
	return found, nil
}

func entry(found asked) error {
	tree, err := open(found.Note, found)
	if err != nil {
		return err
	}
	proof, err := hashes(found.Proof)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(proof, tree.N, tree.Hash, found.Index, tlog.RecordHash(found.Entry))
}

func growth(found asked) error {
	tree, err := open(found.Note, found)
	if err != nil {
		return err
	}
	old, err := open(found.Old, found)
	if err != nil {
		return err
	}
	proof, err := hashes(found.Proof)
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash)
}

func tiles(found asked) error {
	tree, err := open(found.Note, found)
	if err != nil {
		return err
	}
	reader := tlog.TileHashReader(tree, folder(found.Files))
	root, err := tlog.TreeHash(tree.N, reader)
	if err != nil || root != tree.Hash {
		return fmt.Errorf("another root: %v", err)
	}
	for name, data := range found.Files {
		if strings.HasPrefix(name, "tile/entries/") {
			if err := bundle(name, data, reader); err != nil {
				return err
			}
		} else if err := hashTile(name, data, tree.N, reader); err != nil {
			return err
		}
	}
	if found.Proof != nil {
		proof, err := tlog.ProveRecord(tree.N, found.Index, reader)
		if err := same(proof, found.Proof, err); err != nil {
			return err
		}
	}
	if found.Growth != nil {
		proof, err := tlog.ProveTree(tree.N, found.OldSize, reader)
		return same(proof, found.Growth, err)
	}
	return nil
}

// bundle compares each entry of an entry bundle with the hash that the tiles have in its place.
func bundle(name string, data []byte, reader tlog.HashReader) error {
	tile, err := tlog.ParseTilePath(strings.Replace(name, "tile/entries/", fmt.Sprintf("tile/%d/0/", height), 1))
	if err != nil {
		return err
	}
	for at := 0; at < tile.W; at++ {
		if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
			return fmt.Errorf("%s ends early", name)
		}
		length := 2 + int(binary.BigEndian.Uint16(data))
		place := tlog.StoredHashIndex(0, tile.N<<height+int64(at))
		there, err := reader.ReadHashes([]int64{place})
		if err != nil || there[0] != tlog.RecordHash(data[2:length]) {
			return fmt.Errorf("%s: another entry %d: %v", name, at, err)
		}
		data = data[length:]
	}
	if len(data) != 0 {
		return fmt.Errorf("%s has %d bytes more", name, len(data))
	}
	return nil
}

// hashTile compares a tile's bytes with what x/mod reads, checked against the root, in its place.
func hashTile(name string, data []byte, size int64, reader tlog.HashReader) error {
	tile, err := tlog.ParseTilePath(strings.Replace(name, "tile/", fmt.Sprintf("tile/%d/", height), 1))
	if err != nil {
		return err
	}
	if (tile.N<<height+int64(tile.W))<<(height*tile.L) > size {
		return fmt.Errorf("%s is beyond the log", name)
	}
	there, err := tlog.ReadTileData(tile, reader)
	if err != nil || !bytes.Equal(there, data) {
		return fmt.Errorf("%s: other hashes: %v", name, err)
	}
	return nil
}

func same(proof []tlog.Hash, raws [][]byte, err error) error {
	expected, bad := hashes(raws)
	if err != nil || bad != nil || len(proof) != len(expected) {
		return fmt.Errorf("another proof: %v %v", err, bad)
	}
	for at := range proof {
		if proof[at] != expected[at] {
			return fmt.Errorf("another hash %d of a proof", at)
		}
	}
	return nil
}

func check(what, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var found asked
	if err := json.Unmarshal(data, &found); err != nil {
		return err
	}
	asks := map[string]func(asked) error{"entry": entry, "growth": growth, "tiles": tiles}
	return asks[what](found)
}

func main() {
	if err := check(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
