// Of cuDNN's graphs those of one convolution: descriptors and their attributes, what is proposed, plans, and their execution.
//
// Three engines: the one that is proposed first is not deterministic, the next one rounds f32 to TF32, the last is exact.
// Whoever executes the first is refused. An attribute of another type than it has, one that is missing, or a descriptor that
// is used before it is finished is an error.
#include "cudnn_names.hpp"
#include "dnn.hpp"
#include <cstring>
#include <map>
#include <memory>

namespace {

using dnn::bad;

struct Attribute {
  int type = -1;
  std::vector<char> bytes;
  std::vector<std::shared_ptr<struct Node>> nodes;
};
// What a descriptor stands for.
struct Node {
  int kind;
  bool finished = false;
  std::map<int, Attribute> attributes;
};
struct Descriptor {
  std::shared_ptr<Node> node;
};

size_t width(int type) {
  switch (type) {
    case CUDNN_TYPE_INT64: return 8;
    case CUDNN_TYPE_FLOAT: return 4;
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_VOID_PTR:
    case CUDNN_TYPE_BACKEND_DESCRIPTOR: return sizeof(void *);
    case CUDNN_TYPE_DATA_TYPE:
    case CUDNN_TYPE_CONVOLUTION_MODE:
    case CUDNN_TYPE_HEUR_MODE:
    case CUDNN_TYPE_KNOB_TYPE:
    case CUDNN_TYPE_NUMERICAL_NOTE: return 4;
    default: return 0;
  }
}

// The type that an attribute has; -1 where it is not emulated.
int type_of(int name) {
  switch (name) {
    case CUDNN_ATTR_TENSOR_DATA_TYPE:
    case CUDNN_ATTR_CONVOLUTION_COMP_TYPE: return CUDNN_TYPE_DATA_TYPE;
    case CUDNN_ATTR_CONVOLUTION_CONV_MODE: return CUDNN_TYPE_CONVOLUTION_MODE;
    case CUDNN_ATTR_ENGINEHEUR_MODE: return CUDNN_TYPE_HEUR_MODE;
    case CUDNN_ATTR_OPERATIONGRAPH_HANDLE:
    case CUDNN_ATTR_EXECUTION_PLAN_HANDLE: return CUDNN_TYPE_HANDLE;
    case CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE: return CUDNN_TYPE_KNOB_TYPE;
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE: return CUDNN_TYPE_NUMERICAL_NOTE;
    case CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS:
    case CUDNN_ATTR_VARIANT_PACK_WORKSPACE: return CUDNN_TYPE_VOID_PTR;
    case CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA:
    case CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA: return CUDNN_TYPE_FLOAT;
    case CUDNN_ATTR_CONVOLUTION_DILATIONS:
    case CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES:
    case CUDNN_ATTR_CONVOLUTION_POST_PADDINGS:
    case CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS:
    case CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS:
    case CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT:
    case CUDNN_ATTR_TENSOR_DIMENSIONS:
    case CUDNN_ATTR_TENSOR_STRIDES:
    case CUDNN_ATTR_TENSOR_UNIQUE_ID:
    case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
    case CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE:
    case CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS:
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE: return CUDNN_TYPE_INT64;
    case CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH:
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
    case CUDNN_ATTR_ENGINECFG_ENGINE:
    case CUDNN_ATTR_ENGINECFG_KNOB_CHOICES:
    case CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG:
    case CUDNN_ATTR_OPERATIONGRAPH_OPS:
    case CUDNN_ATTR_ENGINE_OPERATION_GRAPH: return CUDNN_TYPE_BACKEND_DESCRIPTOR;
    default:
      // What an operation is of: all but its factors, above.
      return name >= CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC && name <= CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY
                 ? CUDNN_TYPE_BACKEND_DESCRIPTOR
                 : -1;
  }
}

template <typename T> void put(Node &node, int name, std::vector<T> values) {
  Attribute &attribute = node.attributes[name];
  attribute.type = type_of(name);
  attribute.bytes.assign((const char *)values.data(), (const char *)(values.data() + values.size()));
}
void link(Node &node, int name, std::vector<std::shared_ptr<Node>> nodes) {
  node.attributes[name] = {CUDNN_TYPE_BACKEND_DESCRIPTOR, {}, nodes};
}

// The values of an attribute; as many as are wanted, where that is not negative, or none.
template <typename T> std::vector<T> values(const Node &node, int name, long long wanted = -1) {
  auto found = node.attributes.find(name);
  if (found == node.attributes.end()) return {};
  std::vector<T> out(found->second.bytes.size() / sizeof(T));
  std::memcpy(out.data(), found->second.bytes.data(), out.size() * sizeof(T));
  if (wanted >= 0 && out.size() != (size_t)wanted) out.clear();
  return out;
}
template <typename T> T value(const Node &node, int name, T otherwise) {
  std::vector<T> found = values<T>(node, name, 1);
  return found.empty() ? otherwise : found[0];
}
std::vector<std::shared_ptr<Node>> nodes(const Node &node, int name) {
  auto found = node.attributes.find(name);
  return found == node.attributes.end() ? std::vector<std::shared_ptr<Node>>() : found->second.nodes;
}
std::shared_ptr<Node> only(const Node &node, int name, int kind) {
  auto found = nodes(node, name);
  return found.size() == 1 && found[0]->kind == kind ? found[0] : nullptr;
}

// A finished tensor as a map; its type is -1 where it is none that is emulated.
dnn::Map map_of(const Node &tensor) {
  dnn::Map map;
  auto dims = values<int64_t>(tensor, CUDNN_ATTR_TENSOR_DIMENSIONS, 4);
  auto strides = values<int64_t>(tensor, CUDNN_ATTR_TENSOR_STRIDES, 4);
  int type = value<int>(tensor, CUDNN_ATTR_TENSOR_DATA_TYPE, -1);
  if (dims.empty() || strides.empty() || (type != dnn::FLOAT && type != dnn::BFLOAT16)) return map;
  int64_t n = dims[0], c = dims[1], h = dims[2], w = dims[3];
  std::vector<int64_t> last = {h * w * c, 1, w * c, c};
  if (strides != last || n <= 0 || c <= 0 || h <= 0 || w <= 0) return map;
  map.type = type, map.n = n, map.c = c, map.h = h, map.w = w;
  return map;
}

struct Names {
  int kind, conv, x, w, y, alpha, beta;
  dnn::Product product;
};
const Names OPERATIONS[] = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, dnn::FORWARD},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, dnn::DATA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, dnn::FILTER},
};
const Names *names(int kind) {
  for (const Names &n : OPERATIONS) {
    if (n.kind == kind) return &n;
  }
  return nullptr;
}

// What an operation computes; where its operands stand is named by `ids`, of x, w and y.
bool understood(const Node &operation, dnn::Convolution *c, int64_t *ids) {
  const Names &n = *names(operation.kind);
  auto conv = only(operation, n.conv, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  int of[3] = {n.x, n.w, n.y};
  dnn::Map *maps[3] = {&c->x, &c->w, &c->y};
  for (int i = 0; i < 3; i++) {
    auto tensor = only(operation, of[i], CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    if (!tensor || !conv) return false;
    *maps[i] = map_of(*tensor);
    ids[i] = value<int64_t>(*tensor, CUDNN_ATTR_TENSOR_UNIQUE_ID, -1);
  }
  auto pads = values<int64_t>(*conv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 2);
  auto strides = values<int64_t>(*conv, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 2);
  c->pad = (int)pads[0], c->stride = (int)strides[0];
  return true;
}

enum { NOT_DETERMINISTIC, ROUNDS, EXACT, ENGINES };

std::shared_ptr<Node> config(std::shared_ptr<Node> graph, int64_t index, int64_t tile) {
  auto engine = std::make_shared<Node>(Node{CUDNN_BACKEND_ENGINE_DESCRIPTOR, true, {}});
  link(*engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, {graph});
  put<int64_t>(*engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, {index});
  auto knob = std::make_shared<Node>(Node{CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, true, {}});
  put<int>(*knob, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, {CUDNN_KNOB_TYPE_TILE_SIZE});
  put<int64_t>(*knob, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, {tile});
  auto made = std::make_shared<Node>(Node{CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, true, {}});
  link(*made, CUDNN_ATTR_ENGINECFG_ENGINE, {engine});
  link(*made, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, {knob});
  return made;
}

// What a plan computes, and by which engine.
bool planned(const Node &plan, const Names **n, dnn::Convolution *c, int64_t *ids, const Node **operation, int64_t *index) {
  auto chosen = only(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  auto engine = chosen ? only(*chosen, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR) : nullptr;
  auto graph =
      engine ? only(*engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR) : nullptr;
  if (!graph) return false;
  auto of = nodes(*graph, CUDNN_ATTR_OPERATIONGRAPH_OPS)[0];
  *n = names(of->kind), *operation = of.get();
  *index = value<int64_t>(*engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, -1);
  if (!understood(*of, c, ids)) return false;
  c->tf32 = *index == ROUNDS;
  return true;
}

int finish(Node &node) {
  if (names(node.kind)) {
    dnn::Convolution c;
    int64_t ids[3];
    if (!understood(node, &c, ids)) return bad("an operation lacks a tensor or its convolution");
    if (ids[0] == ids[1] || ids[1] == ids[2] || ids[0] == ids[2]) return bad("two tensors of a graph have one name");
    return dnn::fit(c);
  }
  switch (node.kind) {
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR: {
      dnn::Map map = map_of(node);
      if (map.type < 0) return bad("a tensor that is not of f32 or bf16 with channels last");
      if (value<int64_t>(node, CUDNN_ATTR_TENSOR_UNIQUE_ID, -1) < 0) return bad("a tensor without a name");
      if (value<int64_t>(node, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 0) <= 0) return bad("a tensor without alignment");
      return dnn::countable(map) ? dnn::SUCCESS : dnn::NOT_SUPPORTED;
    }
    case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR: {
      auto two = [&](int name) { return values<int64_t>(node, name, 2); };
      auto before = two(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS), after = two(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS);
      auto strides = two(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES), dilations = two(CUDNN_ATTR_CONVOLUTION_DILATIONS);
      bool all = !before.empty() && !after.empty() && !strides.empty() && !dilations.empty();
      if (!all || value<int64_t>(node, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 0) != 2) return bad("a convolution's sizes");
      if (value<int>(node, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, -1) != dnn::FLOAT) return bad("sums are not of f32");
      bool plain = before == after && before[0] == before[1] && strides[0] == strides[1] && dilations[0] == 1 &&
                   dilations[1] == 1 && value<int>(node, CUDNN_ATTR_CONVOLUTION_CONV_MODE, -1) == dnn::CROSS_CORRELATION;
      return plain ? dnn::SUCCESS : dnn::NOT_SUPPORTED;
    }
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR: {
      if (int wrong = dnn::ready(value<dnn::Handle *>(node, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, nullptr))) return wrong;
      auto of = nodes(node, CUDNN_ATTR_OPERATIONGRAPH_OPS);
      return of.size() == 1 && names(of[0]->kind) ? dnn::SUCCESS : dnn::NOT_SUPPORTED;
    }
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR:
      if (!only(node, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)) {
        return bad("a question without a graph");
      }
      if (value<int>(node, CUDNN_ATTR_ENGINEHEUR_MODE, -1) < 0) return bad("a question without its mode");
      return dnn::settings().graphs ? dnn::SUCCESS : dnn::NOT_SUPPORTED;
    case CUDNN_BACKEND_ENGINE_DESCRIPTOR: {
      int64_t index = value<int64_t>(node, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, -1);
      if (!only(node, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)) {
        return bad("an engine without a graph");
      }
      return index >= 0 && index < ENGINES && dnn::settings().graphs ? dnn::SUCCESS : dnn::NOT_SUPPORTED;
    }
    case CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR: {
      if (value<int>(node, CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, -1) != CUDNN_KNOB_TYPE_TILE_SIZE) return dnn::NOT_SUPPORTED;
      int64_t tile = value<int64_t>(node, CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, -1);
      return tile >= 0 && tile < 2 ? dnn::SUCCESS : dnn::NOT_SUPPORTED;
    }
    case CUDNN_BACKEND_ENGINECFG_DESCRIPTOR:
      return only(node, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR) ? dnn::SUCCESS
                                                                                      : bad("a choice without an engine");
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR: {
      if (int wrong = dnn::ready(value<dnn::Handle *>(node, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, nullptr))) return wrong;
      const Names *n;
      dnn::Convolution c;
      int64_t ids[3], index;
      const Node *operation;
      if (!planned(node, &n, &c, ids, &operation, &index)) return bad("a plan without an engine");
      put<int64_t>(node, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, {(int64_t)dnn::workspace(c, index == EXACT ? 512 : 0)});
      return dnn::SUCCESS;
    }
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR: {
      auto ids = values<int64_t>(node, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
      auto pointers = values<void *>(node, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
      return ids.size() == pointers.size() && !ids.empty() ? dnn::SUCCESS : bad("names and addresses do not pair");
    }
    default: return dnn::NOT_SUPPORTED;
  }
}

}  // namespace

extern "C" {

int cudnnBackendCreateDescriptor(int kind, void **descriptor) {
  *descriptor = new Descriptor{std::make_shared<Node>(Node{kind, false, {}})};
  return dnn::SUCCESS;
}
int cudnnBackendDestroyDescriptor(void *descriptor) {
  delete (Descriptor *)descriptor;
  return dnn::SUCCESS;
}

int cudnnBackendSetAttribute(void *descriptor, int name,
                                       int type, int64_t count, const void *from) {
  Node &node = *((Descriptor *)descriptor)->node;
  if (node.finished) return bad("an attribute of a descriptor that is finished");
  if (type != type_of(name)) {
    return bad(("attribute " + std::to_string(name) + " has another type").c_str());
  }
  if (count <= 0 || !from) return bad("an attribute without values");
  Attribute attribute = {type, {}, {}};
  if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
    for (int64_t i = 0; i < count; i++) {
      auto *part = (const Descriptor *)((void *const *)from)[i];
      if (!part->node->finished) return bad("a descriptor that is not finished");
      attribute.nodes.push_back(part->node);
    }
  } else {
    attribute.bytes.assign((const char *)from, (const char *)from + (size_t)count * width(type));
  }
  node.attributes[name] = attribute;
  return dnn::SUCCESS;
}

int cudnnBackendFinalize(void *descriptor) {
  Node &node = *((Descriptor *)descriptor)->node;
  int status = finish(node);
  node.finished = status == dnn::SUCCESS;
  return status;
}

int cudnnBackendGetAttribute(void *descriptor, int name,
                                       int type, int64_t room, int64_t *count, void *to) {
  const auto &node = ((const Descriptor *)descriptor)->node;
  if (!node->finished) return bad("an attribute of a descriptor that is not finished");
  if (type != type_of(name)) return bad("an attribute has another type");
  Attribute found;
  if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS) {
    auto graph = only(*node, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    bool last = value<int>(*node, CUDNN_ATTR_ENGINEHEUR_MODE, -1) == CUDNN_HEUR_MODE_FALLBACK;
    if (last) found.nodes = {config(graph, EXACT, 0)};
    else found.nodes = {config(graph, NOT_DETERMINISTIC, 0), config(graph, ROUNDS, 1), config(graph, ROUNDS, 0)};
  } else if (name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE) {
    int64_t index = value<int64_t>(*node, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, -1);
    std::vector<int> notes;
    if (index != EXACT) notes.push_back(CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
    if (index == NOT_DETERMINISTIC) notes.push_back(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC);
    found.bytes.assign((const char *)notes.data(), (const char *)(notes.data() + notes.size()));
  } else if (node->attributes.count(name)) {
    found = node->attributes[name];
  }
  size_t each = width(type), all = type == CUDNN_TYPE_BACKEND_DESCRIPTOR ? found.nodes.size() : found.bytes.size() / each;
  *count = (int64_t)all;
  size_t given = room < (int64_t)all ? (size_t)(room < 0 ? 0 : room) : all;
  if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
    for (size_t i = 0; i < given; i++) ((Descriptor *)((void **)to)[i])->node = found.nodes[i];
  } else if (given > 0) {
    std::memcpy(to, found.bytes.data(), given * each);
  }
  return dnn::SUCCESS;
}

int cudnnBackendExecute(const dnn::Handle *handle, void *plan, void *pack) {
  const Node &of = *((const Descriptor *)plan)->node, &with = *((const Descriptor *)pack)->node;
  const Names *n;
  dnn::Convolution c;
  int64_t ids[3], index;
  const Node *operation;
  if (!of.finished || !with.finished || !planned(of, &n, &c, ids, &operation, &index)) {
    return bad("a plan or what it is to work on is not finished");
  }
  if (index == NOT_DETERMINISTIC) return bad("an engine that is not deterministic");
  auto given = values<int64_t>(with, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  auto pointers = values<void *>(with, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  int of_operands[3] = {n->x, n->w, n->y};
  void *at[3] = {};
  for (int i = 0; i < 3; i++) {
    for (size_t j = 0; j < given.size(); j++) {
      if (given[j] == ids[i]) at[i] = pointers[j];
    }
    auto tensor = only(*operation, of_operands[i], CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    int64_t alignment = value<int64_t>(*tensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 1);
    if (!at[i] || (uintptr_t)at[i] % (uintptr_t)alignment) {
      return bad("an operand is missing, or stands at another alignment than was said");
    }
  }
  auto space = value<void *>(with, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, nullptr);
  size_t bytes = (size_t)value<int64_t>(of, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, 0);
  dnn::settings().by_graphs++;
  bool forgets = dnn::settings().forgets >> index & 1;
  float alpha = value<float>(*operation, n->alpha, 1), beta = forgets ? 0 : value<float>(*operation, n->beta, 0);
  return dnn::compute(handle, n->product, c, at[0], at[1], at[2], space, bytes, alpha, beta);
}

}  // extern "C"
