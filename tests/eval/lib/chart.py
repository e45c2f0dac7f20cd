"""The learning curve as an SVG."""

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 50, 60
COLOURS = ["#1f6feb", "#bf5700"]


def draw(result, meanings):
    curves = {kind: curve for kind, curve in result["curves"].items() if curve}
    uses = sorted({point["uses"] for curve in curves.values() for point in curve})
    most = max(uses + [1])
    x = lambda n: LEFT + (WIDTH - LEFT - RIGHT) * n / most  # noqa: E731
    y = lambda share: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share  # noqa: E731
    text = lambda at, down, words, more="": f'<text x="{at:.1f}" y="{down:.1f}" {more}>{words}</text>'  # noqa: E731
    with_embedder = f" with {result['embedder']}" if result.get("embedder") else ""
    title = f"Right skill in the prompt: {result['skills']} skills, {result['questions']} questions, {result['mode']}{with_embedder}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<title>{title}</title><rect width="100%" height="100%" fill="white"/>',
        text(LEFT, 28, title, 'font-size="16"'),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 15, "lessons of each skill", 'text-anchor="middle"'),
    ]
    for tenth in range(0, 11, 2):
        at = y(tenth / 10)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>')
        parts.append(text(LEFT - 8, at + 4, f"{tenth * 10} %", 'text-anchor="end"'))
    parts += [text(x(n), HEIGHT - BOTTOM + 20, n, 'text-anchor="middle"') for n in uses]
    words = y(result["words"]["hits"])
    parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{words:.1f}" y2="{words:.1f}" stroke="#999" stroke-dasharray="6 4"/>')
    parts.append(text(WIDTH - RIGHT, words + 16, f"bm25, {result['words']['hits']:.1%}", 'text-anchor="end" fill="#666"'))
    for place, (kind, curve) in enumerate(curves.items()):
        colour = COLOURS[place % len(COLOURS)]
        points = [(x(point["uses"]), y(point["hits"]), point["hits"]) for point in curve]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py, _ in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(text(LEFT + 10, HEIGHT - BOTTOM - 30 + 18 * place, meanings[kind], f'fill="{colour}"'))
        for px, py, share in points:
            parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="{colour}"/>')
            # The first curve is the upper one: its numbers stand above it, the other's below. Both begin at the same point.
            if place == 0 or px > LEFT:
                parts.append(text(px, py + (22 if place else -10), f"{share:.1%}", f'text-anchor="middle" fill="{colour}"'))
    return "\n".join(parts) + "\n</svg>\n"
