package metaclaw

import (
	"iter"
	"structs"

	"policy/metaclaw/internal/abi"
)

// Catalog has the skills that this agent may be given.
type Catalog int32

// Skill is a skill as the catalog lists it. The scope is `own` or `shared`.
type Skill struct {
	Name, Description, Category, Scope string
	Tokens                             uint32
}

// Scored is a skill that a search found; a larger score is better, within one search.
type Scored struct {
	Name   string
	Score  float32
	Tokens uint32
}

type skill struct {
	_                                  structs.HostLayout
	name, description, category, scope abi.Str
	tokens                             uint32
}

type scored struct {
	_      structs.HostLayout
	name   abi.Str
	score  float32
	tokens uint32
}

// Len is how many there are.
func (c Catalog) Len() int { return int(catalogLen(int32(c))) }

// All are all of them, by name.
func (c Catalog) All() iter.Seq[Skill] {
	return func(yield func(Skill) bool) {
		for offset := uint32(0); ; {
			var list abi.Str
			catalogList(int32(c), offset, 256, &list)
			page := abi.List[skill](list)
			for _, s := range page {
				if !yield(Skill{abi.Take(s.name), abi.Take(s.description), abi.Take(s.category), abi.Take(s.scope), s.tokens}) {
					return
				}
			}
			if len(page) == 0 {
				return
			}
			offset += uint32(len(page))
		}
	}
}

// Search gives the best `k`, at most 64, for these words by the host's own index, best first.
func (c Catalog) Search(query string, k uint32) []Scored {
	var list abi.Str
	catalogSearch(int32(c), query, k, &list)
	var all []Scored
	for _, s := range abi.List[scored](list) {
		all = append(all, Scored{abi.Take(s.name), s.score, s.tokens})
	}
	return all
}

// Read gives the body of a skill.
func (c Catalog) Read(name string) (body string, ok bool) {
	var found abi.Option
	catalogRead(int32(c), name, &found)
	return abi.Take(found.Str), found.Some != 0
}

// Drop gives the handle back; the helper does.
func (c Catalog) Drop() { catalogDrop(int32(c)) }

//go:wasmimport metaclaw:policy/catalog@1.0.0 [method]catalog.len
func catalogLen(handle int32) uint32

//go:wasmimport metaclaw:policy/catalog@1.0.0 [method]catalog.list
func catalogList(handle int32, offset, limit uint32, list *abi.Str)

//go:wasmimport metaclaw:policy/catalog@1.0.0 [method]catalog.search
func catalogSearch(handle int32, query string, k uint32, list *abi.Str)

//go:wasmimport metaclaw:policy/catalog@1.0.0 [method]catalog.read
func catalogRead(handle int32, name string, found *abi.Option)

//go:wasmimport metaclaw:policy/catalog@1.0.0 [resource-drop]catalog
func catalogDrop(handle int32)
