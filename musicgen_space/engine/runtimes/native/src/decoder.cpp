// MusicGen's decoder step in one call: codes in, logits out, on a few CPU threads.
//
// It computes what engine/model.py computes, with weights packed for streaming (matrix.h),
// loops compiled for several kinds of processors (loops.h, dots_*.h) of which the best is
// taken at run time, and threads of its own (pool.h). Python calls the functions at the end.
//
// R rows are predicted at once; the first N look at a text. Of each row C columns are read
// together, so M = R · C rows of activations, in the order row, column.

#include <atomic>
#include <string>
#include <vector>

#include "cpu.h"
#include "matrix.h"
#include "pool.h"

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
constexpr int TOGETHER = 64;    // rows of activations computed at once, at most
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
constexpr int QUERIES = 2;                // of them that share what is loaded
constexpr int SCRATCH = QUERIES * 3 / 2;  // floats of a position: scores, and their two halves

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

struct Model {
  Shape shape;
  const Loops* loops;
  const float* embeddings;  // [codebooks · (codebook size + 1), width], owned by Python
  std::vector<Layer> layers;
  Matrix heads;
  Norm norm;
  Pool pool;

  Model(const Shape& shape, const float* embeddings, const Loops* loops, int threads)
      : shape(shape), loops(loops), embeddings(embeddings), layers(shape.layers),
        pool(threads, 16 * shape.layers + 8) {}
  int head_width() const { return shape.width / shape.heads; }
};

// The memory of one generation.
struct State {
  int rows, text_rows, length = 0;
  std::vector<int> text_lengths;           // [N]
  std::vector<Cache> caches, text_caches;  // [layers]
  const float* positions;                  // [room, width], owned by Python
  int room;
  // What a step works in.
  int stride;                     // of `hidden`: the width, padded
  Buffer hidden, mixed;           // [M, stride], [M, queries keys values]
  Buffer scratch;                 // [threads, scratch_size]
  size_t scratch_size;
  Activations narrow, wide, last; // as wide as the model, as the feed-forward, of the heads
  Buffer logits;
};

bool in_bytes(const Matrix& m) { return m.format == INT8 || m.format == INT4; }

// The program that all threads run for C columns of each row.
class Step {
 public:
  Step(const Model& model, State& state, int columns, Pool::Worker& worker)
      : model_(model), loops_(*model.loops), state_(state), worker_(worker), columns_(columns),
        width_(model.shape.width), head_(model.head_width()) {}

  // hidden [M, width] through all layers.
  void layers() {
    const int all = state_.rows * columns_, with_text = state_.text_rows * columns_;
    for (int index = 0; index < model_.shape.layers; ++index) {
      const Layer& layer = model_.layers[index];
      normalise(layer.norms[BEFORE_SELF], layer.parts[QUERIES_KEYS_VALUES], all);
      linear(layer.parts[QUERIES_KEYS_VALUES], state_.narrow, all, mixed(), mixed_stride(), Then::STORE);
      attend_to_self(state_.caches[index]);
      add(layer.parts[OUTPUT], state_.narrow, all);
      if (with_text) {
        normalise(layer.norms[BEFORE_TEXT], layer.parts[TEXT_QUERIES], with_text);
        linear(layer.parts[TEXT_QUERIES], state_.narrow, with_text, mixed(), mixed_stride(), Then::STORE);
        attend_to_text(state_.text_caches[index]);
        add(layer.parts[TEXT_OUTPUT], state_.narrow, with_text);
      }
      normalise(layer.norms[BEFORE_FEED_FORWARD], layer.parts[EXPAND], all);
      linear(layer.parts[EXPAND], state_.narrow, all, state_.wide.values(0), state_.wide.width, Then::GELU);
      add(layer.parts[CONTRACT], state_.wide, all);
    }
  }

  // The logits after each row's last column.
  void logits() {
    worker_.each(state_.rows, [&](int row) {
      const float* x = hidden(row * columns_ + columns_ - 1);
      loops_.normalise(x, model_.norm.gain.data(), model_.norm.bias.data(), width_,
                       state_.last.values(row));
      if (in_bytes(model_.heads)) loops_.quantise(state_.last, row);
    });
    linear(model_.heads, state_.last, state_.rows, state_.logits.as<float>(),
           model_.heads.tiles() * TILE, Then::STORE);
  }

  // Texts' keys and values: `narrow` holds the states of one row's tokens.
  void read_text(int row, int tokens) {
    const int parts = 2 * width_;
    for (int index = 0; index < model_.shape.layers; ++index) {
      const Matrix& m = model_.layers[index].parts[TEXT_KEYS_VALUES];
      if (index == 0) quantise(m, state_.narrow, tokens);
      linear(m, state_.narrow, tokens, mixed(), mixed_stride(), Then::STORE);
      worker_.each(model_.shape.heads, [&](int head) {
        for (int token = 0; token < tokens; ++token) {
          const float* x = mixed() + size_t(token) * mixed_stride() + head * head_;
          loops_.append(state_.text_caches[index], row * model_.shape.heads + head,
                        state_.text_lengths[row] + token, x, x + parts / 2);
        }
      });
    }
  }

 private:
  float* hidden(int row) const { return state_.hidden.as<float>() + size_t(row) * state_.stride; }
  float* mixed() const { return state_.mixed.as<float>(); }
  int mixed_stride() const { return padded(3 * width_, TILE); }

  void quantise(const Matrix& reader, const Activations& x, int rows) {
    if (in_bytes(reader)) worker_.each(rows, [&](int row) { loops_.quantise(x, row); });
  }

  void normalise(const Norm& norm, const Matrix& reader, int rows) {
    worker_.each(rows, [&](int row) {
      loops_.normalise(hidden(row), norm.gain.data(), norm.bias.data(), width_,
                       state_.narrow.values(row));
      if (in_bytes(reader)) loops_.quantise(state_.narrow, row);
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
    linear(m, x, rows, hidden(0), state_.stride, Then::ADD);
  }

  // A column's key is there before its query; later ones it does not see.
  void attend_to_self(const Cache& cache) {
    worker_.each(state_.rows * model_.shape.heads, [&](int lane) {
      const float* queries = queries_of(lane);
      for (int column = 0; column < columns_; ++column) {
        const float* query = queries + size_t(column) * mixed_stride();
        loops_.append(cache, lane, state_.length + column, query + width_, query + 2 * width_);
      }
      attend(cache, lane, state_.length + 1, 1);
    });
  }

  void attend_to_text(const Cache& cache) {
    worker_.each(state_.text_rows * model_.shape.heads, [&](int lane) {
      attend(cache, lane, state_.text_lengths[lane / model_.shape.heads], 0);
    });
  }

  // The first column's query of a row and head.
  const float* queries_of(int lane) const {
    const int row = lane / model_.shape.heads, head = lane % model_.shape.heads;
    return mixed() + size_t(row) * columns_ * mixed_stride() + head * head_;
  }

  void attend(const Cache& cache, int lane, int length, int growth) {
    const int row = lane / model_.shape.heads, head = lane % model_.shape.heads;
    float* scratch = state_.scratch.as<float>() + worker_.thread * state_.scratch_size;
    loops_.attend(cache, lane,
                  {queries_of(lane), state_.narrow.values(row * columns_) + head * head_,
                   mixed_stride(), state_.narrow.width, columns_, length, growth, scratch});
  }

  const Model& model_;
  const Loops& loops_;
  State& state_;
  Pool::Worker& worker_;
  const int columns_, width_, head_;
};

std::unique_ptr<State> new_state(const Model& model, int rows, int text_rows, const int* texts,
                                 const float* positions, int room) {
  const Shape& shape = model.shape;
  auto state = std::make_unique<State>();
  state->rows = rows;
  state->text_rows = text_rows;
  state->positions = positions;
  state->room = room;
  int longest = 0;
  for (int row = 0; row < text_rows; ++row) longest = std::max(longest, texts[row]);
  for (int layer = 0; layer < shape.layers; ++layer) {
    state->caches.emplace_back(shape.cache_in_bytes, rows * shape.heads, model.head_width(), room);
    if (text_rows)
      state->text_caches.emplace_back(shape.cache_in_bytes, text_rows * shape.heads,
                                      model.head_width(), longest);
  }
  state->text_lengths.assign(text_rows, 0);
  state->stride = padded(shape.width, TILE);
  const int together = std::max(TOGETHER, rows);
  state->hidden = Buffer(size_t(together) * state->stride * 4);
  state->mixed = Buffer(size_t(together) * padded(3 * shape.width, TILE) * 4);
  state->scratch_size = size_t(SCRATCH) * padded(std::max(room, longest), TILE);
  state->scratch = Buffer(model.pool.threads() * state->scratch_size * 4);
  state->narrow = Activations(together, shape.width);
  state->wide = Activations(together, shape.feed_forward);
  state->last = Activations(rows, shape.width);
  state->logits = Buffer(size_t(rows) * model.heads.tiles() * TILE * 4);
  return state;
}

// The texts' states [all tokens, width], row after row, into the text caches.
void read_texts(Model& model, State& state, const int* texts, const float* states) {
  const int width = model.shape.width;
  for (int row = 0; row < state.text_rows; ++row)
    while (state.text_lengths[row] < texts[row]) {
      const int tokens = std::min(TOGETHER, texts[row] - state.text_lengths[row]);
      for (int token = 0; token < tokens; ++token, states += width)
        std::memcpy(state.narrow.values(token), states, size_t(width) * 4);
      model.pool.run([&](Pool::Worker& worker) {
        Step(model, state, tokens, worker).read_text(row, tokens);
      });
      state.text_lengths[row] += tokens;
    }
}

// Column `index` of row `row` into `out`: what comes before the codes, or their embeddings.
void embed(const Model& model, const float* prefix, int before,
           const int64_t* codes, int takes, int columns, int row, int index, float* out) {
  const Shape& shape = model.shape;
  const int width = shape.width;
  if (index < before) {
    std::memcpy(out, prefix + (size_t(row) * before + index) * width, size_t(width) * 4);
    return;
  }
  const int64_t* column = codes + size_t(row % takes) * shape.codebooks * columns + index - before;
  for (int codebook = 0; codebook < shape.codebooks; ++codebook) {
    const int64_t entry = column[size_t(codebook) * columns] + int64_t(codebook) * (shape.codebook_size + 1);
    const float* embedding = model.embeddings + size_t(entry) * width;
    for (int i = 0; i < width; ++i) out[i] = codebook ? out[i] + embedding[i] : embedding[i];
  }
}

bool codes_exist(const Shape& shape, const int64_t* codes, size_t count) {
  return std::all_of(codes, codes + count,
                     [&](int64_t code) { return code >= 0 && code <= shape.codebook_size; });
}

// Read `before` columns of `prefix` and then `columns` of codes; logits of the next column.
void advance(Model& model, State& state, const float* prefix, int before, const int64_t* codes,
             int takes, int columns, float* logits) {
  const int width = model.shape.width, total = before + columns;
  const int most = std::max(1, TOGETHER / state.rows);
  for (int start = 0; start < total;) {
    const int count = std::min(most, total - start);
    for (int row = 0; row < state.rows; ++row)
      for (int column = 0; column < count; ++column) {
        float* hidden = state.hidden.as<float>() + size_t(row * count + column) * state.stride;
        embed(model, prefix, before, codes, takes, columns, row, start + column, hidden);
        const float* position = state.positions + size_t(state.length + column) * width;
        for (int i = 0; i < width; ++i) hidden[i] += position[i];
      }
    start += count;
    const auto program = [&](Pool::Worker& worker) {
      Step step(model, state, count, worker);
      step.layers();
      if (start == total) step.logits();
    };
    total == 1 ? model.pool.run_paced(program) : model.pool.run(program);
    state.length += count;
  }
  const int outputs = model.shape.codebooks * model.shape.codebook_size;
  for (int row = 0; row < state.rows; ++row)
    std::memcpy(logits + size_t(row) * outputs,
                state.logits.as<float>() + size_t(row) * model.heads.tiles() * TILE,
                size_t(outputs) * 4);
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
  auto state = new_state(*model, rows, text_rows, texts, positions, room);
  read_texts(*model, *state, texts, states);
  return state.release();
} catch (...) {
  return nullptr;
}

EXPORTED void musicgen_end(State* state) { delete state; }

// Read `prefix` [rows, before, width], then `codes` [takes, codebooks, columns], which the
// rows share in turns; → `logits` [rows, codebooks · codebook size] of the next column.
// −2: there is no room for so many; −3: there is no such code.
EXPORTED int musicgen_advance(Model* model, State* state, const float* prefix, int before,
                              const int64_t* codes, int takes, int columns, float* logits) try {
  if (state->length + before + columns > state->room) return -2;
  if (!codes_exist(model->shape, codes, size_t(takes) * model->shape.codebooks * columns)) return -3;
  advance(*model, *state, prefix, before, codes, takes, columns, logits);
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
