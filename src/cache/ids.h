// The identifiers of the cache. A slot is where an entry lies in a table, a position is where its token stands in the
// sequence: evicting methods make them differ, so they do not convert into each other.
#pragma once

#include <cstdint>

#include "base/strong.h"

namespace loci {

using SlotId = Strong<struct SlotTag>;
using TokenPos = Strong<struct TokenPosTag>;
using LayerId = Strong<struct LayerTag>;
using KvHead = Strong<struct KvHeadTag>;
using QueryHead = Strong<struct QueryHeadTag>;
using PageId = Strong<struct PageTag>;
using PartId = Strong<struct PartTag>;

}  // namespace loci
