'use strict';
(() => {
  const token = new URLSearchParams(location.search).get('token') || '';
  const at = (id) => document.getElementById(id);
  const made = (tag, text, parent) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.append(node);
    return node;
  };
  const say = (text, wrong) => {
    at('status').textContent = text;
    at('status').classList.toggle('wrong', Boolean(wrong));
  };
  const number = (value) => (Math.abs(value) >= 0.001 || value === 0 ? value.toFixed(3) : value.toExponential(1));

  // Requests one after the other; a comparison or a map that a later change makes idle is given up.
  let line = Promise.resolve();
  let comparing = null;
  let mapping = null;
  let changes = 0;
  const send = async (request, signal) => {
    const reply = await fetch('/session', {
      method: 'POST',
      headers: { 'Authorization': 'Bearer ' + token, 'Content-Type': 'application/json' },
      body: JSON.stringify(request),
      signal,
    });
    if (!reply.ok) throw new Error(await reply.text());
    const said = await reply.json();
    if (said.error) throw new Error(said.error.text);
    return said.result;
  };
  const next = (work) => {
    const own = line.then(work);
    line = own.catch(() => {});
    return own;
  };
  const failed = (error) => { if (error.name !== 'AbortError') say(error.message, true); };

  let model = null;
  let state = null;

  const change = (request) => {
    const own = ++changes;
    if (comparing) comparing.abort();
    idle();
    say('asking');
    next(() => send(request)).then((now) => { show(now); return compare(); }).catch((error) => {
      if (state) show(state);
      return compare().then(() => failed(error));
    }).then(() => { if (own === changes) again(); });
  };
  const compare = () => {
    if (comparing) comparing.abort();
    const own = new AbortController();
    comparing = own;
    say('asking');
    return next(() => (own.signal.aborted ? null : send({ do: 'difference', top: 5 }, own.signal))).then((told) => {
      if (told && comparing === own) { answer(told); say(''); }
    }).catch(failed);
  };

  const answer = (told) => {
    at('answer').textContent = told.after;
    at('before').textContent = told.same ? 'as before any change' : 'before any change: ' + told.before;
    const likely = at('likely');
    likely.replaceChildren();
    for (const one of told.likely) {
      const row = made('li', undefined, likely);
      row.dataset.id = one.id;
      row.dataset.after = one.after;
      made('span', one.text.trim() || '\u2423', row);
      const bar = made('span', undefined, row);
      bar.className = 'bar';
      made('i', undefined, bar).style.width = 100 * one.after + '%';
      made('b', undefined, bar).style.left = 100 * one.before + '%';
      made('span', number(one.before) + ' \u2192 ' + number(one.after), row);
    }
    const tokens = at('tokens');
    tokens.replaceChildren();
    for (const one of told.tokens) {
      const row = made('li', undefined, tokens);
      made('span', one.text.trim() || '\u2423', row);
      made('span', 'log-probability', row).className = 'label';
      made('span', one.before.toFixed(2) + ' \u2192 ' + one.after.toFixed(2), row);
    }
  };

  // Pictures and their cells; a drag does with every cell what it did with the first.
  let drag = null;
  const cells = [];
  const pictures = () => {
    const shown = JSON.parse(at('pictures').textContent);
    model.pictures.forEach((picture, index) => {
      const box = made('div', undefined, at('pictures-shown'));
      box.className = 'picture';
      if (shown[index]) {
        const image = made('img', undefined, box);
        image.src = shown[index];
        image.alt = picture.name;
        image.draggable = false;
      }
      cells[index] = picture.cells.map((own, cell) => {
        const button = made('button', undefined, box);
        button.className = 'cell';
        button.type = 'button';
        button.setAttribute('aria-label', 'cell ' + cell);
        place(button, own, picture);
        button.addEventListener('pointerdown', (event) => {
          event.preventDefault();
          if (button.hasPointerCapture(event.pointerId)) button.releasePointerCapture(event.pointerId);
          drag = { picture: index, hide: button.getAttribute('aria-pressed') !== 'true', cells: new Set() };
          touch(index, cell);
        });
        button.addEventListener('pointerenter', () => touch(index, cell));
        button.addEventListener('click', (event) => {
          // Of a key, or a script: pointers have been seen already.
          if (event.detail === 0 && !drag) {
            drag = { picture: index, hide: button.getAttribute('aria-pressed') !== 'true', cells: new Set([cell]) };
            dropped();
          }
        });
        return button;
      });
    });
  };
  const place = (node, [x0, y0, x1, y1], picture) => {
    node.style.left = 100 * x0 / picture.width + '%';
    node.style.top = 100 * y0 / picture.height + '%';
    node.style.width = 100 * (x1 - x0) / picture.width + '%';
    node.style.height = 100 * (y1 - y0) / picture.height + '%';
  };
  const touch = (picture, cell) => {
    if (!drag || drag.picture !== picture) return;
    drag.cells.add(cell);
    cells[picture][cell].setAttribute('aria-pressed', String(drag.hide));
  };
  const dropped = () => {
    const own = drag;
    drag = null;
    if (own && own.cells.size) change({ do: own.hide ? 'hide' : 'show', picture: own.picture, cells: [...own.cells] });
  };
  addEventListener('pointerup', dropped);
  addEventListener('pointercancel', dropped);

  const off = (part, layer, head) => part + '.' + layer + '.' + head;
  const heads = () => {
    const sites = new Set(model.sites.map((own) => own.site));
    let some = false;
    for (const part of model.anatomy) {
      for (let layer = 0; layer < part.blocks; layer++) {
        const site = part.part + '.blocks.' + layer + '.attn.z';
        if (!sites.has(site) || part.heads > 128) continue;
        some = true;
        const row = made('div', undefined, at('heads'));
        row.className = 'layer';
        made('span', part.part + ' ' + layer, row);
        for (let head = 0; head < part.heads; head++) {
          const button = made('button', String(head), row);
          button.dataset.head = off(part.part, layer, head);
          button.addEventListener('click', () => {
            const name = button.dataset.head;
            if (button.getAttribute('aria-pressed') === 'true') change({ do: 'unedit', names: [name] });
            else change({ do: 'edit', name, edit: site + '[head=' + head + ']=zero' });
          });
        }
      }
    }
    at('heads-section').hidden = !some;
  };

  const steering = () => {
    if (!model.directions.length) return;
    at('steer-section').hidden = false;
    for (const name of model.directions) made('option', name, at('direction'));
    for (const own of model.sites) if (own.site.endsWith('.resid_post')) made('option', own.site, at('site'));
    at('site').selectedIndex = Math.floor(at('site').options.length / 2);
    let waits = null;
    const steer = () => {
      at('strength-shown').textContent = at('strength').value;
      clearTimeout(waits);
      waits = setTimeout(() => {
        const strength = Number(at('strength').value);
        const on = state.edits.some((edit) => edit.name === 'slider');
        if (strength === 0) { if (on) change({ do: 'unedit', names: ['slider'] }); return; }
        change({ do: 'steer', name: 'slider', direction: at('direction').value, site: at('site').value, strength });
      }, 120);
    };
    for (const id of ['strength', 'direction', 'site']) at(id).addEventListener('input', steer);
  };

  const show = (now) => {
    state = now;
    cells.forEach((own, picture) => {
      const hidden = new Set(now.hidden[picture] || []);
      own.forEach((button, cell) => button.setAttribute('aria-pressed', String(hidden.has(cell))));
    });
    at('words').replaceChildren();
    now.words.forEach((word, index) => {
      const button = made('button', word.text, at('words'));
      button.setAttribute('aria-pressed', String(word.struck));
      button.addEventListener('click', () => change({ do: word.struck ? 'show' : 'hide', words: [index] }));
    });
    at('question').value = now.question || '';
    at('ask').hidden = now.question === undefined;
    const edits = new Set(now.edits.map((edit) => edit.name));
    for (const button of document.querySelectorAll('[data-head]')) {
      button.setAttribute('aria-pressed', String(edits.has(button.dataset.head)));
    }
    const slider = now.edits.find((edit) => edit.name === 'slider');
    at('strength').value = slider ? slider.steer.strength : 0;
    at('strength-shown').textContent = at('strength').value;
    at('picture-fill').value = typeof now.picture_fill === 'string' ? now.picture_fill : Object.keys(now.picture_fill)[0];
    at('word-fill').value = now.word_fill;
    at('undo').disabled = now.changes === 0;
  };

  const unmap = () => {
    for (const node of document.querySelectorAll('.heat')) node.remove();
    at('mapped').textContent = '';
    at('table').replaceChildren();
  };
  // A map is of one state: once that is another, what is shown is marked until the map is made anew.
  let method = null;
  let timer = null;
  const stale = (is) => {
    document.body.classList.toggle('stale', is);
    at('map-section').setAttribute('aria-busy', String(is));
  };
  const idle = () => {
    clearTimeout(timer);
    if (mapping) mapping.abort();
    mapping = null;
    stale(method !== null);
  };
  const map = () => {
    idle();
    const own = new AbortController();
    mapping = own;
    return next(() => (own.signal.aborted ? null : send({ do: 'map', method }, own.signal))).then((found) => {
      if (found && mapping === own) { draw(found); stale(false); }
    }).catch((error) => {
      if (mapping !== own) return;
      unmap();
      stale(false);
      failed(error);
    });
  };
  const again = () => {
    clearTimeout(timer);
    if (method !== null) timer = setTimeout(map, 120);
  };
  const heat = (image, box, value, most) => {
    const picture = model.pictures[image];
    const holder = at('pictures-shown').children[image];
    if (!picture || !holder) return;
    const node = made('div', undefined, holder);
    node.className = 'heat';
    place(node, box, picture);
    node.style.background = value < 0 ? '#2f6fb6' : '#d8441f';
    node.style.opacity = 0.75 * Math.abs(value) / most;
    node.title = number(value);
  };
  const draw = (found) => {
    unmap();
    const said = [found.table + ' (' + found.quantity + '); ' + found.explained, ...found.cautions];
    at('mapped').textContent = said.join('. ');
    if (!found.numbers) return;
    const most = found.numbers.reduce((all, value) => Math.max(all, Math.abs(value)), 0) || 1;
    const [first, second] = found.axes.map((axis) => axis.labels);
    const labels = (own, i) => {
      if (own.tokens) return own.tokens[i].text;
      if (own.names) return own.names[i];
      return String(i);
    };
    if (found.axes.length === 2 && first.spans && second.spans) {
      first.spans.spans.forEach(([y0, y1], row) => second.spans.spans.forEach(([x0, x1], col) => {
        heat(first.spans.image, [x0, y0, x1, y1], found.numbers[row * second.spans.spans.length + col], most);
      }));
      return;
    }
    if (found.axes.length === 1) {
      const patches = first.patches || (first.tokens || []).map((own) => own.patch);
      patches.forEach((patch, i) => { if (patch) heat(patch.image, patch.bbox, found.numbers[i], most); });
      if (first.patches) return;
    }
    const strides = [];
    found.axes.reduceRight((all, axis, i) => { strides[i] = all; return all * length(axis.labels); }, 1);
    const name = (index) => found.axes.map((axis, i) => {
      const own = Math.floor(index / strides[i]) % length(axis.labels);
      return labels(axis.labels, own).trim();
    }).join(', ');
    [...found.numbers.keys()].sort((a, b) => Math.abs(found.numbers[b]) - Math.abs(found.numbers[a])).slice(0, 20).forEach((index) => {
      const row = made('li', undefined, at('table'));
      made('span', name(index), row);
      const bar = made('span', undefined, row);
      bar.className = 'bar';
      made('i', undefined, bar).style.width = 100 * Math.abs(found.numbers[index]) / most + '%';
      made('span', number(found.numbers[index]), row);
    });
  };
  const length = (labels) => {
    if (labels.count !== undefined) return labels.count;
    if (labels.spans) return labels.spans.spans.length;
    return (labels.tokens || labels.names || labels.patches).length;
  };

  at('undo').addEventListener('click', () => change({ do: 'undo' }));
  at('reset').addEventListener('click', () => change({ do: 'reset' }));
  at('ask').addEventListener('submit', (event) => {
    event.preventDefault();
    change({ do: 'question', text: at('question').value });
  });
  at('picture-fill').addEventListener('change', () => {
    const fills = { blur: { blur: { sigma: 8 } }, noise: { noise: { seed: 0 } } };
    change({ do: 'hide', picture_fill: fills[at('picture-fill').value] || at('picture-fill').value });
  });
  at('word-fill').addEventListener('change', () => change({ do: 'hide', word_fill: at('word-fill').value }));
  at('map').addEventListener('click', () => {
    method = at('method').value;
    map();
  });
  at('unmap').addEventListener('click', () => {
    method = null;
    idle();
    unmap();
  });

  next(() => send({ do: 'describe' })).then((told) => {
    model = told;
    at('model').textContent = told.model;
    pictures();
    heads();
    steering();
    for (const own of told.methods) {
      const option = made('option', own.name, at('method'));
      option.value = own.method;
      option.title = own.question;
    }
    if (told.methods.some((own) => own.method === 'occlusion')) at('method').value = 'occlusion';
    show(told.state);
    return compare();
  }).catch(failed);
})();
