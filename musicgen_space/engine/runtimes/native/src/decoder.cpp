// MusicGen's decoder step in one call: codes in, logits out, on a few CPU threads.
//
// It computes what engine/model.py computes, with weights packed for streaming (matrix.h),
// loops compiled for several kinds of processors (loops.h, dots_*.h) of which the best is
// taken at run time, and threads of its own (pool.h). Python calls the functions at the end.
//
// A generation has R rows; the first N look at a text. Several generations are advanced
// together, each at its own length and with its own number of columns: a pass is the rows of
// all of them, those that look at a text first, and of each row some columns. So it has M
// activations, in the order row, column, and weights are read once for all of them:
//
//   generation      a       b       a       b          caches and attention: each its own
//   row             0       0       1       1
//   column          7       0 1 2   7       0 1 2
//   activation      0       1 2 3   4       5 6 7
//                   with a text ─┤  └─ without

#include <atomic>
#include <string>
#include <vector>

#include "cpu.h"
#include "matrix.h"
#include "pool.h"
#include "sampling.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#else
#define EXPORTED __attribute__((visibility("default")))
#endif

namespace {

constexpr int MAX_HEAD = 256;   // features of one head, at most
constexpr int TOGETHER = 64;    // activations computed at once, unless there are more rows
constexpr int CHUNK = 1 << 16;  // bytes of weights that a thread takes at once, at least …
constexpr int SHARES = 4;       // … and else this part of its share of them

enum class Then { STORE, ADD, GELU };  // what becomes of a product

// Queries [count][head] that look into a lane together. The first sees `length` positions,
// each next one `growth` more.
struct Attention {
  const float* queries;
  float* outs;
  int query_stride, out_stride, count, length, growth;
  float* scratch;  // [SCRATCH · positions, padded to whole tiles]
};
constexpr int MOST_QUERIES = 4;                // of them that share what is loaded
constexpr int SCRATCH = MOST_QUERIES * 3 / 2;  // floats of a position: scores, and their two halves

// What differs between processors.
struct Loops {
  void (*linear)(const Matrix&, const Activations&, int rows, int first, int last, float* out,
                 int stride, Then);
  void (*normalise)(const float* x, const float* gain, const float* bias, int width, float* out);
  void (*quantise)(const Activations&, int row);
  void (*append)(const Cache&, int lane, int position, const float* key, const float* value);
  void (*attend)(const Cache&, int lane, const Attention&);
};

#if defined(__clang__)
#define TEXT(words) _Pragma(#words)
#define TARGET(features) \
  TEXT(clang attribute push(__attribute__((target(features))), apply_to = function))
#define END_TARGET _Pragma("clang attribute pop")
#else
#define TEXT(words) _Pragma(#words)
#define TARGET(features) _Pragma("GCC push_options") TEXT(GCC target(features))
#define END_TARGET _Pragma("GCC pop_options")
#endif

namespace scalar {
#include "dots_scalar.h"
#include "group.h"
#include "loops.h"
}  // namespace scalar

#if defined(__x86_64__)
TARGET("avx2,fma,f16c")
namespace avx2 {
#include "dots_avx2.h"
#include "group.h"
#include "loops.h"
}  // namespace avx2
END_TARGET

TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")
namespace avx512 {
#include "dots_avx2.h"
#include "dots_avx512.h"
#include "loops.h"
#undef dot_int8
#undef dot_int4
}  // namespace avx512
END_TARGET

#elif defined(__aarch64__)
#if defined(__clang__)
TARGET("dotprod")
#else
TARGET("arch=armv8.2-a+dotprod")
#endif
namespace neon {
#include "dots_neon.h"
#include "group.h"
#include "loops.h"
}  // namespace neon
END_TARGET
#endif

#include "codec.h"

struct Level {
  const char* name;
  const Loops* loops;
};

// The kinds of this processor, the best last.
std::vector<Level> levels() {
  const Cpu cpu = this_cpu();
  std::vector<Level> found = {{"scalar", &scalar::loops}};
#if defined(__x86_64__)
  if (cpu.avx2) found.push_back({"avx2", &avx2::loops});
  if (cpu.avx512) found.push_back({"avx512", &avx512::loops});
#elif defined(__aarch64__)
  if (cpu.dotprod) found.push_back({"neon", &neon::loops});
#endif
  return found;
}

const Loops* loops_of(const char* name) {
  const std::vector<Level> known = levels();
  if (!*name) return known.back().loops;
  for (const Level& level : known)
    if (!std::strcmp(level.name, name)) return level.loops;
  return nullptr;
}

struct Shape {
  int width, heads, layers, feed_forward, codebooks, codebook_size;
  int looks_at_text;   // 0 in melody models
  int cache_in_bytes;  // keys and values as INT8, else FLOAT32
};

struct Norm {
  std::vector<float> gain, bias;
};

// Numbered as in decoder.py.
enum Part { QUERIES_KEYS_VALUES, OUTPUT, TEXT_QUERIES, TEXT_OUTPUT, EXPAND, CONTRACT, TEXT_KEYS_VALUES, PARTS };
enum { BEFORE_SELF, BEFORE_TEXT, BEFORE_FEED_FORWARD, NORMS };

struct Layer {
  Matrix parts[PARTS];
  Norm norms[NORMS];
};

// The memory of one generation.
struct State {
  int rows, text_rows, length = 0;
  std::vector<int> text_lengths;           // [N]
  std::vector<Cache> caches, text_caches;  // [layers]
  const float* positions;                  // [room, width], owned by Python
  int room;
  int longest_text = 0;
};

// What a pass works in.
struct Work {
  int activations = 0, rows = 0, positions = 0;  // what there is room for
  int stride = 0;                 // of `hidden`: the width, padded
  Buffer hidden, mixed;           // [M, stride], [M, queries keys values]
  Buffer scratch;                 // [threads, scratch_size]
  size_t scratch_size = 0;
  Activations narrow, wide, last; // as wide as the model, as the feed-forward, of the heads
  Buffer logits;                  // [rows, of all codebooks, padded]

  Work() = default;
  Work(const Shape& shape, int threads, int activations, int rows, int positions)
      : activations(activations), rows(rows), positions(positions),
        stride(padded(shape.width, TILE)), hidden(size_t(activations) * stride * 4),
        mixed(size_t(activations) * padded(3 * shape.width, TILE) * 4),
        scratch_size(size_t(SCRATCH) * padded(positions, TILE)), narrow(activations, shape.width),
        wide(activations, shape.feed_forward), last(rows, shape.width),
        logits(size_t(rows) * padded(shape.codebooks * shape.codebook_size, TILE) * 4) {
    scratch = Buffer(threads * scratch_size * 4);
  }
};

struct Model {
  Shape shape;
  const Loops* loops;
  const float* embeddings;  // [codebooks · (codebook size + 1), width], owned by Python
  std::vector<Layer> layers;
  Matrix heads;
  Norm norm;
  Pool pool;
  Work work;
  std::mutex busy;  // whoever uses `work` holds it

  Model(const Shape& shape, const float* embeddings, const Loops* loops, int threads)
      : shape(shape), loops(loops), embeddings(embeddings), layers(shape.layers),
        pool(threads, 16 * shape.layers + 8) {}
  int head_width() const { return shape.width / shape.heads; }

  // Have `work` for so many; as it was if memory is short.
  void make_room(int activations, int rows, int positions) {
    if (activations <= work.activations && rows <= work.rows && positions <= work.positions) return;
    work = Work(shape, pool.threads(), std::max({TOGETHER, activations, work.activations}),
                std::max(rows, work.rows), std::max(positions, work.positions));
  }
};

// What a generation reads in one call, and where the logits of its next column go. As in
// decoder.py.
struct Slice {
  State* state;
  const float* prefix;   // [rows, before, width], read first
  const int64_t* codes;  // [takes, codebooks, columns], which the rows share in turns
  float* logits;         // [rows, codebooks · codebook size]
  int before, takes, columns;

  int total() const { return before + columns; }
};

// A row of a generation in a pass.
struct Row {
  const Slice* slice;
  int row;      // of the generation
  int column;   // the first one of the slice that this pass reads
  int columns;  // how many
  int first;    // activation, of as many as columns

  State& state() const { return *slice->state; }
  bool looks_at_text() const { return row < state().text_rows; }
  bool last() const { return column + columns == slice->total(); }
};

struct Pass {
  std::vector<Row> rows;        // those that look at a text come first
  int activations = 0, text_rows = 0, text_activations = 0;
};

bool in_bytes(const Matrix& m) { return m.format == INT8 || m.format == INT4; }

// The program that all threads run for a pass.
class Step {
 public:
  Step(const Model& model, const Pass& pass, Pool::Worker& worker)
      : model_(model), loops_(*model.loops), work_(model.work), pass_(pass), worker_(worker),
        width_(model.shape.width), heads_(model.shape.heads), head_(model.head_width()) {}

  // hidden [M, width] through all layers.
  void layers() {
    const int all = pass_.activations, with_text = pass_.text_activations;
    for (int index = 0; index < model_.shape.layers; ++index) {
      const Layer& layer = model_.layers[index];
      normalise(layer.norms[BEFORE_SELF], layer.parts[QUERIES_KEYS_VALUES], all);
      linear(layer.parts[QUERIES_KEYS_VALUES], work_.narrow, all, mixed(), mixed_stride(), Then::STORE);
      attend_to_self(index);
      add(layer.parts[OUTPUT], work_.narrow, all);
      if (with_text) {
        normalise(layer.norms[BEFORE_TEXT], layer.parts[TEXT_QUERIES], with_text);
        linear(layer.parts[TEXT_QUERIES], work_.narrow, with_text, mixed(), mixed_stride(), Then::STORE);
        attend_to_text(index);
        add(layer.parts[TEXT_OUTPUT], work_.narrow, with_text);
      }
      normalise(layer.norms[BEFORE_FEED_FORWARD], layer.parts[EXPAND], all);
      linear(layer.parts[EXPAND], work_.narrow, all, work_.wide.values(0), work_.wide.width, Then::GELU);
      add(layer.parts[CONTRACT], work_.wide, all);
    }
  }

  // The logits after each row's last column; whose slice goes on does not need them.
  void logits() {
    const int rows = int(pass_.rows.size());
    worker_.each(rows, [&](int index) {
      const Row& row = pass_.rows[index];
      loops_.normalise(hidden(row.first + row.columns - 1), model_.norm.gain.data(),
                       model_.norm.bias.data(), width_, work_.last.values(index));
      if (in_bytes(model_.heads)) loops_.quantise(work_.last, index);
    });
    linear(model_.heads, work_.last, rows, work_.logits.as<float>(), model_.heads.tiles() * TILE,
           Then::STORE);
  }

  // Texts' keys and values: `narrow` holds the states of one row's tokens.
  void read_text(State& state, int row, int tokens) {
    const int parts = 2 * width_;
    for (int index = 0; index < model_.shape.layers; ++index) {
      const Matrix& m = model_.layers[index].parts[TEXT_KEYS_VALUES];
      if (index == 0) quantise(m, work_.narrow, tokens);
      linear(m, work_.narrow, tokens, mixed(), mixed_stride(), Then::STORE);
      worker_.each(heads_, [&](int head) {
        for (int token = 0; token < tokens; ++token) {
          const float* x = mixed() + size_t(token) * mixed_stride() + head * head_;
          loops_.append(state.text_caches[index], row * heads_ + head,
                        state.text_lengths[row] + token, x, x + parts / 2);
        }
      });
    }
  }

 private:
  float* hidden(int row) const { return work_.hidden.as<float>() + size_t(row) * work_.stride; }
  float* mixed() const { return work_.mixed.as<float>(); }
  int mixed_stride() const { return padded(3 * width_, TILE); }

  void quantise(const Matrix& reader, const Activations& x, int rows) {
    if (in_bytes(reader)) worker_.each(rows, [&](int row) { loops_.quantise(x, row); });
  }

  void normalise(const Norm& norm, const Matrix& reader, int rows) {
    worker_.each(rows, [&](int row) {
      loops_.normalise(hidden(row), norm.gain.data(), norm.bias.data(), width_,
                       work_.narrow.values(row));
      if (in_bytes(reader)) loops_.quantise(work_.narrow, row);
    });
  }

  void linear(const Matrix& m, const Activations& x, int rows, float* out, int stride, Then then) {
    // Memory is read fastest in long stretches. Not in one: who is held up leaves the rest.
    const int tiles = m.tiles(), share = tiles / (SHARES * model_.pool.threads());
    const int step = std::max<int>({1, share, int(CHUNK / m.tile_bytes)});
    worker_.each((tiles + step - 1) / step, [&](int chunk) {
      const int first = chunk * step;
      loops_.linear(m, x, rows, first, std::min(first + step, tiles), out, stride, then);
    });
  }

  void add(const Matrix& m, const Activations& x, int rows) {
    quantise(m, x, rows);
    linear(m, x, rows, hidden(0), work_.stride, Then::ADD);
  }

  // A column's key is there before its query; later ones it does not see.
  void attend_to_self(int layer) {
    worker_.each(int(pass_.rows.size()) * heads_, [&](int lane) {
      const Row& row = pass_.rows[lane / heads_];
      const int head = lane % heads_, length = row.state().length;
      const Cache& cache = row.state().caches[layer];
      for (int column = 0; column < row.columns; ++column) {
        const float* query = queries_of(row, head) + size_t(column) * mixed_stride();
        loops_.append(cache, row.row * heads_ + head, length + column, query + width_,
                      query + 2 * width_);
      }
      attend(cache, row, head, length + 1, 1);
    });
  }

  void attend_to_text(int layer) {
    worker_.each(pass_.text_rows * heads_, [&](int lane) {
      const Row& row = pass_.rows[lane / heads_];
      attend(row.state().text_caches[layer], row, lane % heads_,
             row.state().text_lengths[row.row], 0);
    });
  }

  // The first column's query of a row and head.
  const float* queries_of(const Row& row, int head) const {
    return mixed() + size_t(row.first) * mixed_stride() + head * head_;
  }

  void attend(const Cache& cache, const Row& row, int head, int length, int growth) {
    float* scratch = work_.scratch.as<float>() + worker_.thread * work_.scratch_size;
    loops_.attend(cache, row.row * heads_ + head,
                  {queries_of(row, head), work_.narrow.values(row.first) + head * head_,
                   mixed_stride(), work_.narrow.width, row.columns, length, growth, scratch});
  }

  const Model& model_;
  const Loops& loops_;
  const Work& work_;
  const Pass& pass_;
  Pool::Worker& worker_;
  const int width_, heads_, head_;
};

std::unique_ptr<State> new_state(const Model& model, int rows, int text_rows, const int* texts,
                                 const float* positions, int room) {
  const Shape& shape = model.shape;
  auto state = std::make_unique<State>();
  state->rows = rows;
  state->text_rows = text_rows;
  state->positions = positions;
  state->room = room;
  for (int row = 0; row < text_rows; ++row)
    state->longest_text = std::max(state->longest_text, texts[row]);
  for (int layer = 0; layer < shape.layers; ++layer) {
    state->caches.emplace_back(shape.cache_in_bytes, rows * shape.heads, model.head_width(), room);
    if (text_rows)
      state->text_caches.emplace_back(shape.cache_in_bytes, text_rows * shape.heads,
                                      model.head_width(), state->longest_text);
  }
  state->text_lengths.assign(text_rows, 0);
  return state;
}

// The texts' states [all tokens, width], row after row, into the text caches.
void read_texts(Model& model, State& state, const int* texts, const float* states) {
  const int width = model.shape.width;
  const Pass none;
  model.make_room(TOGETHER, 0, 0);
  for (int row = 0; row < state.text_rows; ++row)
    while (state.text_lengths[row] < texts[row]) {
      const int tokens = std::min(TOGETHER, texts[row] - state.text_lengths[row]);
      for (int token = 0; token < tokens; ++token, states += width)
        std::memcpy(model.work.narrow.values(token), states, size_t(width) * 4);
      model.pool.run([&](Pool::Worker& worker) {
        Step(model, none, worker).read_text(state, row, tokens);
      });
      state.text_lengths[row] += tokens;
    }
}

// How the columns of all slices are read: as many passes as it takes. In each, every slice
// that has columns left reads one, and the first ones more while there is room.
std::vector<Pass> plan(const Slice* slices, int count) {
  std::vector<Pass> passes;
  std::vector<int> read(count, 0), now(count);
  for (;;) {
    int spare = TOGETHER;
    for (int i = 0; i < count; ++i) {
      now[i] = read[i] < slices[i].total();
      spare -= now[i] * slices[i].state->rows;
    }
    if (spare == TOGETHER) return passes;
    for (int i = 0; i < count; ++i) {
      const int rows = slices[i].state->rows, left = slices[i].total() - read[i] - now[i];
      const int more = std::min(left, std::max(spare, 0) / rows);
      now[i] += more;
      spare -= more * rows;
    }
    Pass& pass = passes.emplace_back();
    for (const bool with_text : {true, false}) {
      for (int i = 0; i < count; ++i)
        for (int row = 0; row < (now[i] ? slices[i].state->rows : 0); ++row) {
          const Row each = {&slices[i], row, read[i], now[i], pass.activations};
          if (each.looks_at_text() != with_text) continue;
          pass.rows.push_back(each);
          pass.activations += now[i];
        }
      if (!with_text) continue;
      pass.text_rows = int(pass.rows.size());
      pass.text_activations = pass.activations;
    }
    for (int i = 0; i < count; ++i) read[i] += now[i];
  }
}

// One column of a row into `out`: what comes before the codes, or their embeddings.
void embed(const Model& model, const Slice& slice, int row, int column, float* out) {
  const Shape& shape = model.shape;
  const int width = shape.width;
  if (column < slice.before) {
    std::memcpy(out, slice.prefix + (size_t(row) * slice.before + column) * width, size_t(width) * 4);
    return;
  }
  const int64_t* codes = slice.codes + column - slice.before +
                         size_t(row % slice.takes) * shape.codebooks * slice.columns;
  for (int codebook = 0; codebook < shape.codebooks; ++codebook) {
    const int64_t entry = codes[size_t(codebook) * slice.columns] +
                          int64_t(codebook) * (shape.codebook_size + 1);
    const float* embedding = model.embeddings + size_t(entry) * width;
    for (int i = 0; i < width; ++i) out[i] = codebook ? out[i] + embedding[i] : embedding[i];
  }
}

// The columns of a pass, with their positions, into `hidden`.
void embed(const Model& model, const Pass& pass) {
  const int width = model.shape.width;
  for (const Row& row : pass.rows)
    for (int column = 0; column < row.columns; ++column) {
      float* hidden = model.work.hidden.as<float>() + size_t(row.first + column) * model.work.stride;
      embed(model, *row.slice, row.row, row.column + column, hidden);
      const float* position = row.state().positions + size_t(row.state().length + column) * width;
      for (int i = 0; i < width; ++i) hidden[i] += position[i];
    }
}

// A pass is over: its states are longer, and who has read all of its slice gets logits.
void finish(const Model& model, const Pass& pass) {
  const int outputs = model.shape.codebooks * model.shape.codebook_size;
  for (size_t index = 0; index < pass.rows.size(); ++index) {
    const Row& row = pass.rows[index];
    if (row.row == 0) row.state().length += row.columns;
    if (row.last())
      std::memcpy(row.slice->logits + size_t(row.row) * outputs,
                  model.work.logits.as<float>() + index * model.heads.tiles() * TILE,
                  size_t(outputs) * 4);
  }
}

bool codes_exist(const Shape& shape, const int64_t* codes, size_t count) {
  return std::all_of(codes, codes + count,
                     [&](int64_t code) { return code >= 0 && code <= shape.codebook_size; });
}

// Whether the slices can be read: 0, or what musicgen_advance says.
int problem(const Model& model, const Slice* slices, int count) {
  for (const Slice* slice = slices; slice < slices + count; ++slice) {
    const size_t codes = size_t(slice->takes) * model.shape.codebooks * slice->columns;
    if (slice->state->length + slice->total() > slice->state->room) return -2;
    if (!codes_exist(model.shape, slice->codes, codes)) return -3;
  }
  return 0;
}

// Whatever needs memory comes first, so that all slices are read or none.
void advance(Model& model, const Slice* slices, int count) {
  const std::vector<Pass> passes = plan(slices, count);
  for (const Pass& pass : passes)
    for (const Row& row : pass.rows)
      model.make_room(pass.activations, int(pass.rows.size()),
                      std::max(row.state().room, row.state().longest_text));
  for (const Pass& pass : passes) {
    embed(model, pass);
    const bool some_end = std::any_of(pass.rows.begin(), pass.rows.end(),
                                      [](const Row& row) { return row.last(); });
    const auto program = [&](Pool::Worker& worker) {
      Step step(model, pass, worker);
      step.layers();
      if (some_end) step.logits();
    };
    const bool decoding = pass.activations == int(pass.rows.size());
    decoding ? model.pool.run_paced(pass.activations, program) : model.pool.run(program);
    finish(model, pass);
  }
}

}  // namespace

// What Python calls. No function throws; a null pointer or a negative number says that
// memory is short (or what else the comment says).

extern "C" {

// The names of this processor's kinds, the best last, with spaces between.
EXPORTED const char* musicgen_levels() {
  // Never destroyed: at the program's end this library may be gone from memory already.
  static const std::string& names = *new std::string([] {
    std::string all;
    for (const Level& level : levels()) all += (all.empty() ? "" : " ") + std::string(level.name);
    return all;
  }());
  return names.c_str();
}

// `level`: one of those names, or "" for the best. Null too if there is no such.
EXPORTED Model* musicgen_new(const Shape* shape, const float* embeddings, const char* level,
                             int threads) {
  const Loops* loops = loops_of(level);
  if (!loops || shape->width / shape->heads > MAX_HEAD) return nullptr;
  try {
    return new Model(*shape, embeddings, loops, threads);
  } catch (...) {
    return nullptr;
  }
}

EXPORTED void musicgen_free(Model* model) { delete model; }

// Matrix `part` of `layer` (−1: the heads) from `weights` [rows, inputs], which are copied.
// Without them its bytes are undefined, until they are written to where musicgen_packed says.
EXPORTED int musicgen_set_matrix(Model* model, int layer, int part, int format,
                                 const float* weights, int rows, int inputs) try {
  Matrix& m = layer < 0 ? model->heads : model->layers[layer].parts[part];
  m = Matrix(Format(format), rows, inputs);
  if (!weights) return 0;
  model->pool.run([&](Pool::Worker& worker) {
    worker.each(m.tiles(), [&](int tile) { m.pack(tile, weights); });
  });
  return 0;
} catch (...) {
  return -1;
}

// Where the bytes of a packed matrix are, all `bytes` of them.
EXPORTED uint8_t* musicgen_packed(Model* model, int layer, int part, int64_t* bytes) {
  const Matrix& m = layer < 0 ? model->heads : model->layers[layer].parts[part];
  *bytes = int64_t(m.tiles()) * int64_t(m.tile_bytes);
  return m.tile(0);
}

// Layer norm `part` of `layer` (−1: the last one); gain and bias [width] are copied.
EXPORTED int musicgen_set_norm(Model* model, int layer, int part, const float* gain,
                               const float* bias) try {
  Norm& norm = layer < 0 ? model->norm : model->layers[layer].norms[part];
  norm.gain.assign(gain, gain + model->shape.width);
  norm.bias.assign(bias, bias + model->shape.width);
  return 0;
} catch (...) {
  return -1;
}

// A generation of `rows` rows and up to `room` positions [room, width]. The first
// `text_rows` look at texts of so many tokens, whose states [all tokens, width] follow
// each other.
EXPORTED State* musicgen_start(Model* model, int rows, int text_rows, const int* texts,
                               const float* states, const float* positions, int room) try {
  std::lock_guard<std::mutex> one(model->busy);
  auto state = new_state(*model, rows, text_rows, texts, positions, room);
  read_texts(*model, *state, texts, states);
  return state.release();
} catch (...) {
  return nullptr;
}

EXPORTED void musicgen_end(State* state) { delete state; }

// Read `count` slices, each of another generation: all of them or, if a negative number says
// why not, none. −2: there is no room for so many columns; −3: there is no such code.
EXPORTED int musicgen_advance(Model* model, const Slice* slices, int count) try {
  std::lock_guard<std::mutex> one(model->busy);
  if (const int why_not = problem(*model, slices, count)) return why_not;
  advance(*model, slices, count);
  return 0;
} catch (...) {
  return -1;
}

// A generator of random numbers for `seed`, in memory of the caller's.
EXPORTED void musicgen_seed(Twister* twister, uint32_t seed) { twister->seed(seed); }

// The next codes [codebooks] of a take from its logits [codebooks, entries], `top_k` ≥ 1.
EXPORTED int musicgen_draw(Twister* twister, const float* logits, int codebooks, int entries,
                           float temperature, int top_k, int64_t* codes) try {
  draw(*twister, logits, codebooks, entries, temperature, top_k, codes);
  return 0;
} catch (...) {
  return -1;
}

// EnCodec's decoder, on the caller's thread: whether there are bfloat16's products here, without
// which the others must not be called.
EXPORTED int musicgen_has_bfloat16() {
#if defined(__x86_64__)
  return this_cpu().bfloat16;
#else
  return 0;
#endif
}

#if defined(__x86_64__)
EXPORTED void musicgen_elu(const float* x, uint16_t* out, int64_t count) {
  bfloat16::elu(x, out, count);
}

EXPORTED void musicgen_convolve(const Convolution* convolution) { bfloat16::convolve(*convolution); }

EXPORTED void musicgen_recur(const Recurrence* recurrence) { bfloat16::recur(*recurrence); }
#endif
}
