// What a page looks like, measured in the browser: what sticks out, what is hard to read, which words are broken.

/** How far the page reaches beyond the right edge of the window, in pixels. */
export function overflow(page) {
  return page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return Math.max(0, scrollWidth - clientWidth);
  });
}

/**
 * Visible texts whose contrast with what is behind them is less than 4.5:1 (WCAG 2.2, 1.4.3; 3:1 for large ones), with
 * the ratio.
 */
export function faintTexts(page) {
  return page.evaluate(() => {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    /** Any color of CSS as numbers: red, green, blue from 0 to 255, alpha from 0 to 1. */
    const parse = (color) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
      return [r, g, b, a / 255];
    };
    const over = ([r, g, b, a], below) => [r, g, b].map((part, i) => part * a + below[i] * (1 - a));
    const luminance = (color) => {
      const [r, g, b] = color.map((part) => {
        const s = part / 255;
        return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const probe = document.documentElement.appendChild(document.createElement('i'));
    probe.style.backgroundColor = 'Canvas';
    const ground = parse(getComputedStyle(probe).backgroundColor).slice(0, 3);
    probe.remove();
    const ancestors = (element) => {
      const all = [];
      for (let it = element; it; it = it.parentElement) all.unshift(it);
      return all;
    };
    /** What is behind an element's text: the backgrounds of all that it stands in. */
    const behind = (element) => ancestors(element).reduce(
      (below, it) => over(parse(getComputedStyle(it).backgroundColor), below), ground);
    const found = [];
    const look = (element, text) => {
      if (!text.trim() || !element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) return;
      const style = getComputedStyle(element);
      const opacity = ancestors(element).reduce((product, it) => product * getComputedStyle(it).opacity, 1);
      const back = behind(element);
      const [r, g, b, a] = parse(style.color);
      const light = [luminance(over([r, g, b, a * opacity], back)), luminance(back)].sort((x, y) => y - x);
      const ratio = (light[0] + 0.05) / (light[1] + 0.05);
      const size = parseFloat(style.fontSize);
      const isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
      if (ratio < (isLarge ? 3 : 4.5)) found.push(`${ratio.toFixed(2)}: ${text.trim().slice(0, 40)}`);
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const { parentElement, data } = texts.currentNode;
      if (!parentElement.closest('script, style, template, noscript, option')) look(parentElement, data);
    }
    for (const field of document.querySelectorAll('input, select')) look(field, field.value || 'empty');
    return found;
  });
}

/** Words of at most `longest` letters that are broken within, below what `selector` finds. */
export function brokenWords(page, selector, longest = 24) {
  return page.evaluate(([where, most]) => {
    const found = [];
    for (const element of document.querySelectorAll(where)) {
      const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
      while (texts.nextNode()) {
        for (const { 0: word, index } of texts.currentNode.data.matchAll(/[^\s/-]+/gu)) {
          const range = document.createRange();
          range.setStart(texts.currentNode, index);
          range.setEnd(texts.currentNode, index + word.length);
          const lines = new Set([...range.getClientRects()].map(({ top }) => Math.round(top)));
          if (word.length <= most && lines.size > 1) found.push(word);
        }
      }
    }
    return found;
  }, [selector, longest]);
}
