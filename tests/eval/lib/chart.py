"""The learning curve as an SVG."""

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 50, 60


def draw(result):
    curve = result["curve"]
    most = max([point["uses"] for point in curve] + [1])
    x = lambda uses: LEFT + (WIDTH - LEFT - RIGHT) * uses / most  # noqa: E731
    y = lambda share: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share  # noqa: E731
    title = f"Right skill in the prompt, {result['skills']} skills, {result['questions']} questions"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<title>{title}</title><rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="28" font-size="16">{title}</text>',
    ]
    for tenth in range(0, 11, 2):
        at = y(tenth / 10)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{tenth * 10} %</text>')
    for uses in sorted({point["uses"] for point in curve}):
        parts.append(f'<text x="{x(uses):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{uses}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 15}" text-anchor="middle">past uses of each skill</text>')
    words = y(result["words"]["hits"])
    parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{words:.1f}" y2="{words:.1f}" stroke="#999" stroke-dasharray="6 4"/>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{words + 16:.1f}" text-anchor="end" fill="#666">bm25, {result["words"]["hits"]:.1%}</text>')
    points = [(x(point["uses"]), y(point["hits"]), point["hits"]) for point in curve]
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py, _ in points)
    parts.append(f'<polyline points="{path}" fill="none" stroke="#1f6feb" stroke-width="2.5"/>')
    for px, py, share in points:
        parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="#1f6feb"/>')
        parts.append(f'<text x="{px:.1f}" y="{py - 10:.1f}" text-anchor="middle">{share:.1%}</text>')
    parts.append(f'<text x="{LEFT + 8}" y="{HEIGHT - BOTTOM - 8}" fill="#1f6feb">{result["mode"]}</text></svg>')
    return "\n".join(parts) + "\n"
