// Package lines is the other end of `driving.Lines`: an act a line, as a JSON array, and an answer a line.
package lines

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
)

type Store interface {
	Up(file, key string) error
	Names(prefix string) ([]string, error)
	Down(key, file string) error
	Move(key, to string) error
	Remove(key string) error
}

// Serve says the version of the module and answers until the end of input. A store that cannot be made is the answer.
func Serve(module string, make func() (Store, error)) {
	say(map[string]any{"version": version(module)})
	var store Store
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		var act []string
		err := json.Unmarshal(input.Bytes(), &act)
		if err == nil && store == nil {
			store, err = make()
		}
		var done any
		if err == nil {
			done, err = play(store, act)
		}
		if err != nil {
			say(map[string]any{"says": err.Error()})
		} else {
			say(map[string]any{"done": done})
		}
	}
}

func play(store Store, act []string) (any, error) {
	switch act[0] {
	case "up":
		return nil, store.Up(act[1], act[2])
	case "names":
		return store.Names(act[1])
	case "down":
		return nil, store.Down(act[1], act[2])
	case "move":
		return nil, store.Move(act[1], act[2])
	case "remove":
		return nil, store.Remove(act[1])
	}
	return nil, fmt.Errorf("no such act: %s", act[0])
}

func version(module string) string {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == module {
			return dependency.Version[1:]
		}
	}
	return "unknown"
}

func say(answer map[string]any) {
	line, err := json.Marshal(answer)
	if err != nil {
		panic(err)
	}
	fmt.Println("=", string(line))
}
