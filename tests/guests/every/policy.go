// Uses everything that the helper has.
package main

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"policy/metaclaw"
	"policy/metaclaw/files"
	"policy/metaclaw/kv"
	"policy/metaclaw/log"
	"policy/metaclaw/reward"
	"policy/metaclaw/routing"
	"policy/metaclaw/samplefilter"
	"policy/metaclaw/skillrendering"
	"policy/metaclaw/skillselection"
	"policy/metaclaw/toolgate"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func init() {
	metaclaw.Describe("every", "1.0.0", "Uses everything.", struct{}{}, nil)
	metaclaw.Grants("skills:read")

	routing.Route(func(turn metaclaw.Turn) (routing.Decision, error) {
		_, known := turn.Attr("none")
		log.Printf("turn %s %s %d %s %s %v %v %q", turn.Agent(), turn.Session(), turn.Index(), turn.Kind(), turn.Mode(), turn.BodySize() > 0, turn.ReceivedAt() > 0, turn.RequestedModel())
		log.Printf("turn %v %v %v", turn.ToolNames(), slices.Collect(turn.Messages()), known)
		value, _, err := kv.Get("count")
		if err != nil {
			return routing.Decision{}, err
		}
		count, _ := strconv.Atoi(value)
		err = errors.Join(kv.Set("count", strconv.Itoa(count+1)), kv.Set("gone", "x"), kv.Delete("gone"))
		if err != nil {
			return routing.Decision{}, err
		}
		log.Warnf("kept %v %d", must(kv.Keys("")), count)
		switch turn.UserText() {
		case "refuse":
			return routing.Refuse("refused"), nil
		case "throw":
			panic("thrown")
		}
		return routing.To(turn.Targets()[0], strings.Repeat("r", 2000)), nil
	})
	skillselection.Select(func(turn metaclaw.Turn, catalog metaclaw.Catalog) (selection skillselection.Selection, err error) {
		log.Printf("skills %v %d", slices.Collect(catalog.All()), catalog.Len())
		log.Printf("files %v %d %s", must(files.List("skills", "tides")), must(files.Stat("skills", "tides/notes.txt")).Size, must(files.Read("skills", "tides/notes.txt")))
		if _, err := files.Read("skills", "nothing"); err != nil {
			log.Printf("problem %s", err.(metaclaw.Problem).Code)
		}
		for _, hit := range catalog.Search(turn.UserText(), 5) {
			selection.Skills = append(selection.Skills, hit.Name)
		}
		return selection, nil
	})
	skillrendering.Render(func(turn metaclaw.Turn, catalog metaclaw.Catalog, skills []string) (text string, err error) {
		for _, name := range skills {
			body, _ := catalog.Read(name)
			text += "laid out: " + body
		}
		return text, nil
	})
	toolgate.Gate(func(turn metaclaw.Turn, call metaclaw.ToolCall) (toolgate.Permission, error) {
		switch call.Name {
		case "remove":
			return toolgate.Deny("denied " + call.Arguments), nil
		case "send":
			return toolgate.Hold("held"), nil
		}
		return toolgate.Allow(), nil
	})
	samplefilter.Filter(func(sample metaclaw.Sample) (samplefilter.Verdict, error) {
		log.Printf("sample %s %s %v %v", sample.Model(), sample.FinishReason(), sample.HasTokens(), sample.Skills())
		if strings.Contains(sample.AnswerText(), "drop") {
			return samplefilter.Drop("dropped " + sample.UserText()), nil
		}
		return samplefilter.Keep(0.5), nil
	})
	reward.Reward(func(sample metaclaw.Sample) (*float32, error) {
		value := float32(-0.5)
		if len(sample.ToolCalls()) > 0 {
			value = 1
		}
		return &value, nil
	})
}

func main() {}
