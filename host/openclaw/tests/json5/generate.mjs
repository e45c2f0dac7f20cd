// Writes cases.json: what OpenClaw's own JSON5 parser makes of texts that parsers disagree on.
// usage: node generate.mjs .../node_modules/openclaw/package.json >cases.json
import { createRequire } from "node:module";
const JSON5 = createRequire(process.argv[2])("json5");
const texts = [
"{a:1}","{a:010}","{a:-0x10}","{a:+.5e3}","{a:5.}","{a:5.e1}","{a:-Infinity}","{a:NaN}","{a:0x}","{a:1e}","{a:+ 1}","{a:--1}","{a:- 1}","{a:+-1}",
"{a:'\\0'}","{a:'\\x41'}","{a:'\\v'}","{a:'\\u0041'}","{a:'x\\\ny'}","{a:'x\\\r\ny'}","{a:'x\\\ry'}","{a:'x\\\u2028y'}","{a:'x\ny'}","{a:'x\u2028y'}","{a:\"x\u2029y\"}","{a:'\\q'}","{a:'\\1'}","{a:'\\01'}",
"{a:'\\ud83d\\ude00'}","{a:'\\ud83d'}","{a:'\"'}","{a:\"'\"}","{a:\"\\'\"}","{a:'\\\"'}","{a:'\\/'}","{a:'\\u{41}'}","{a:'\t'}","{a:'\\a'}","{a:'\\b\\f\\n\\r\\t'}","{a:'\\u00g0'}",
"{a:1,}","{a:1,,}","{,}","{a:[1,]}","{a:[,]}","{a:[1,,2]}","{a:[]}","[1]",
"{a-b:1}","{1:2}","{'1':2}","{$a_1:1}","{_:1}","{ä:1}","{\\u0061:1}","{a\u200cb:1}","{null:1}","{true:1}","{Infinity:1}","{NaN:1}","{'a':1,\"b\":2,c:3}","{a:b}","{a:undefined}","{a:null}",
"{a:1 // c\n}","{a:1 // c\r,b:2}","{a:1 // c\u2028,b:2\n}","{a:1 // c\u2029,b:2\n}","{a:1 /* x */}","{a:1 /* /* */}","{a:1 /* x","{a:1} // end","{a:1} /* e */","{a:1} x","{a:1}{b:2}","// only","","  ","/* c */","# c\n{a:1}","{a:1 # c\n}",
"{\u00a0a:1}","{\ufeffa:1}","{\u2003a:1}","{\u000ba:1}","{\u000ca:1}","{\u2028a:1}","{\u2029a:1}","{\u3000a:1}","{\u180ea:1}","{\u0085a:1}","{\u200ba:1}","\ufeff{a:1}","\ufeff\ufeff{a:1}","{a\r:1\r,\rb:2}",
"{a:1;b:2}","{a=1}","{a:1 b:2}","{a:1\nb:2}","{'a' 'b':1}","{a:'x' 'y'}","{a:1.5e400}","{a:123456789012345678901234567890}","{a:0xfffffffffffffffff}","{a:-0}","{a:0.0}","{a:1e2}","{a:1E+2}","{a:.e1}","{a:.}","{a:00}","{a:0x1G}","{a:1_000}","{a:1n}","{a:0o17}","{a:0b1}","{a:tru}","{a:TRUE}","{__proto__:1}","{'__proto__':{x:1}}","{a:{a:1},a:2}","{\"\\u0061\":1,a:2}","{a:`x`}","{...a}","{[a]:1}","{a(){}}","{a}","{get a:1}","{a:/*c*/1/*d*/,/*e*/}",
];
// A number that JSON cannot hold is a text that begins with `#`; null stands for a text that is refused.
const plain = (_, value) => (typeof value === "number" && !Number.isFinite(value) ? "#" + value : value);
const cases = texts.map((text) => {
  try {
    return { text, value: JSON.stringify(JSON5.parse(text), plain) };
  } catch {
    return { text, value: null };
  }
});
console.log("[\n" + cases.map((c) => "  " + JSON.stringify(c)).join(",\n") + "\n]");
